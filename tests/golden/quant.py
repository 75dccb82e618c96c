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


# Where the f16 scales of a block stand, in bytes.
HALVES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0], "IQ4_XS": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

cases = []
for name in ["F32", "F16", "BF16", *[name for name in HALVES if name != "F16"]]:
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    # Those that the project writes, too.
    quantized = gguf.quants.quantize(values, kind) if name in ["F32", "F16", "Q4_0", "Q4_1", "Q8_0"] else None
    noise = None
    if name != "F32":
        # Any codes, with scales of every exponent but inf and NaN.
        noise = rng.integers(0, 256, (max(4, 512 // block), size), dtype=np.uint8)
        infinite = 0x7F80 if name == "BF16" else 0x7C00
        for at in HALVES.get(name, [0]):
            halves = noise[:, at : at + 2].copy().view(np.uint16)
            halves[(halves & infinite) == infinite] &= 0x83FF
            noise[:, at : at + 2] = halves.view(np.uint8)

    def meaning(blocks):
        return bits(gguf.quants.dequantize(blocks.view(np.float16) if name == "F16" else blocks, kind))

    cases.append(
        {
            "type": name,
            "quantized": "" if quantized is None else np.ascontiguousarray(quantized).view(np.uint8).tobytes().hex(),
            "values": "" if quantized is None else bits(gguf.quants.dequantize(quantized, kind)),
            "noise": "" if noise is None else noise.tobytes().hex(),
            "noise_values": "" if noise is None else meaning(noise),
        }
    )

out = pathlib.Path(__file__).with_suffix(".json")
out.write_text(json.dumps({"source": bits(values), "cases": cases}, indent=1) + "\n")
