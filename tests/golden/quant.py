"""Writes quant.json: blocks of every supported type, and what gguf.quants says they stand for.

Run in an environment with the PyPI packages numpy and gguf: python tests/golden/quant.py
Numbers are given as bits, in hex, so that the comparison is exact.
"""

import json
import pathlib

import gguf
import numpy as np

rng = np.random.default_rng(7)
rows = [
    rng.standard_normal(64).astype(np.float32),
    (rng.standard_normal(64) * 1e-6).astype(np.float32),  # scales become f16 subnormals
    np.zeros(64, np.float32),
    np.full(64, 0.3, np.float32),
    np.concatenate([rng.uniform(-60, 2, 32), rng.uniform(3, 4, 32)]).astype(np.float32),
    np.linspace(-1, 1, 64, dtype=np.float32),
]
values = np.stack(rows)


def bits(array):
    return np.ascontiguousarray(array, np.float32).tobytes().hex()


cases = []
for name in ["F32", "F16", "Q4_0", "Q4_1", "Q8_0"]:
    kind = gguf.GGMLQuantizationType[name]
    quantized = gguf.quants.quantize(values, kind)
    noise = None
    if name != "F32":
        # Any codes, with f16 scales of every exponent but inf and NaN.
        block, size = gguf.GGML_QUANT_SIZES[kind]
        noise = rng.integers(0, 256, (16, size), dtype=np.uint8)
        halves = {"F16": 1, "Q4_0": 1, "Q4_1": 2, "Q8_0": 1}[name]
        scales = noise[:, : 2 * halves].copy().view(np.uint16)
        scales[(scales & 0x7C00) == 0x7C00] &= 0x83FF
        noise[:, : 2 * halves] = scales.view(np.uint8)
    cases.append(
        {
            "type": name,
            "quantized": np.ascontiguousarray(quantized).view(np.uint8).tobytes().hex(),
            "values": bits(gguf.quants.dequantize(quantized, kind)),
            "noise": "" if noise is None else noise.tobytes().hex(),
            "noise_values": "" if noise is None else bits(gguf.quants.dequantize(
                noise.view(np.float16) if name == "F16" else noise, kind)),
        }
    )

out = pathlib.Path(__file__).with_suffix(".json")
out.write_text(json.dumps({"source": bits(values), "cases": cases}, indent=1) + "\n")
