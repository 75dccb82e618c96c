"""Writes nf4.safetensors: what bitsandbytes makes of some tensors in NF4 with double quantization.

Run in an environment with the PyPI packages bitsandbytes, torch and safetensors: python tests/golden/nf4.py

Everything is computed by bitsandbytes' own portable backend, the one that stands for its GPU kernels. Its CPU library
quantizes the second level by a coarse table, and one code in six hundred is not the nearest; and it dequantizes rows that
are not whole blocks with the scales of others. Where neither matters it is compared.
"""

import os
import pathlib

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import bitsandbytes.functional as bnb
import numpy as np
import torch
from safetensors.torch import save_file

from hashing import uniform

BLOCK = 64


def portable(op, *args):
    """An operator of bitsandbytes' in its portable version."""
    return op._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args)


def edges() -> torch.Tensor:
    """Blocks that reach 1 with every midpoint between two codes and its two neighbours in f32."""
    code = bnb.get_4bit_type("nf4", device="cpu").numpy()
    middle = (code[:-1] + code[1:]) / np.float32(2)
    near = np.stack([np.nextafter(middle, np.float32(-2)), middle, np.nextafter(middle, np.float32(2))], 1).reshape(-1)
    block = np.zeros(BLOCK, np.float32)
    block[: len(near)] = near
    block[-1] = 1
    return torch.from_numpy(np.stack([block, -block]))


def cases() -> dict[str, torch.Tensor]:
    # As wide as the default model, and not whole blocks of 256 blocks. Halves have sums of scales that are exact in f32, in
    # any order; the f32 values of the next have scales that do.
    growing = 0.02 * (1 + torch.arange(29)[:, None] / 8)
    halves = (uniform("nf4.halves", (29, 576), 1.0) * growing).half().float()
    halves.view(-1)[640:768] = 0
    single = uniform("nf4.single", (7, 96), 0.5)
    single.view(-1)[5::BLOCK] = 0.5 + torch.arange(11) / 64
    return {
        "halves": halves,
        "single": single,
        "half_block": uniform("nf4.half_block", (1, 32), 3.0),
        "zeros": torch.zeros(3, 64),
        "tiny": halves.view(-1)[:256].reshape(4, 64) * 2.0**-100,
        "edges": edges(),
    }


def main() -> None:
    tensors = {"dynamic_map": bnb.create_dynamic_map(), "codes": bnb.get_4bit_type("nf4", device="cpu")}
    ops = torch.ops.bitsandbytes
    for name, source in cases().items():
        packed, absmax = portable(ops.quantize_4bit.default, source, BLOCK, "nf4", torch.uint8)
        offset = absmax.mean()
        exact = np.float32(absmax.double().sum().item()) / np.float32(len(absmax))
        assert offset.item() == exact, f"{name}: choose values whose sum does not depend on the order"
        codes, scales = portable(ops.quantize_blockwise.default, absmax - offset, tensors["dynamic_map"], 256)
        scale = portable(ops.dequantize_blockwise.default, codes, scales, tensors["dynamic_map"], 256, torch.float32)
        scale += offset
        values = portable(ops.dequantize_4bit.default, packed, scale, BLOCK, "nf4", source.shape, torch.float32)
        if source.shape[-1] % BLOCK == 0:
            library = ops.dequantize_4bit(packed, scale, BLOCK, "nf4", source.shape, torch.float32)
            assert torch.equal(values, library), name
        tensors |= {
            f"{name}.source": source,
            f"{name}.packed": packed.reshape(-1),
            f"{name}.absmax_codes": codes,
            f"{name}.absmax": scales,
            f"{name}.offset": offset.reshape(1),
            f"{name}.values": values,
        }
    out = pathlib.Path(__file__).with_suffix(".safetensors")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out)


if __name__ == "__main__":
    main()
