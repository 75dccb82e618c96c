"""The counter-based hash every fixture rests on. README.md states it; tests/golden.rs repeats it."""

import numpy as np
import torch

PROJECTIONS = 16
FIRST = 8
MASK = 0xFFFFFFFFFFFFFFFF


def fnv1a64(text: str) -> int:
    """FNV-1a, 64 bits, over the UTF-8 bytes of a name."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(x: np.ndarray) -> np.ndarray:
    """The SplitMix64 output function of each u64 (the golden-ratio step is added first)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def counters(name: str, n: int) -> np.ndarray:
    """splitmix64(fnv1a64(name) + i) for i in 0..n, wrapping."""
    return splitmix64(np.uint64(fnv1a64(name)) + np.arange(n, dtype=np.uint64))


def uniform(name: str, shape, amplitude: float) -> torch.Tensor:
    """f32 values in [-amplitude, amplitude), row-major: the top 24 bits of each counter's hash."""
    bits = (counters(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.int64)
    unit = (bits - (1 << 23)).astype(np.float32) * np.float32(2.0**-23)
    return torch.from_numpy((unit * np.float32(amplitude)).reshape(shape))


def ids(name: str, n: int, vocab: int) -> list[int]:
    """n token ids in 0..vocab."""
    return [int(x) for x in counters(name, n) % np.uint64(vocab)]


_signs: dict[int, np.ndarray] = {}


def signs(n: int) -> np.ndarray:
    """[PROJECTIONS, n] of +-1.0 (f64): sign k, i is minus where splitmix64(k << 32 | i) has its top bit set."""
    if n not in _signs:
        if len(_signs) > 8:
            _signs.clear()
        k = np.arange(PROJECTIONS, dtype=np.uint64)[:, None] << np.uint64(32)
        h = splitmix64(k | np.arange(n, dtype=np.uint64)[None, :])
        _signs[n] = 1.0 - 2.0 * (h >> np.uint64(63)).astype(np.float64)
    return _signs[n]


def project(rows: torch.Tensor) -> np.ndarray:
    """[..., n] -> [..., PROJECTIONS], summed in f64."""
    a = rows.detach().double().numpy()
    return (a @ signs(a.shape[-1]).T).astype(np.float32)


def summarise(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """L2 norm, projections and first values of each tensor (flattened row-major), in the dict's order."""
    flat = [t.detach().reshape(-1) for t in tensors.values()]
    return {
        "norm": np.array([t.double().norm().item() for t in flat], dtype=np.float32),
        "projections": np.stack([project(t) for t in flat]),
        "first": np.stack([np.pad(t[:FIRST].float().numpy(), (0, max(0, FIRST - len(t)))) for t in flat]),
    }


def samples() -> dict:
    """What tests/golden.rs checks its own hash against."""
    names = ["", "prompt_embeddings", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    xs = [0, 1, 2, 1 << 32, (15 << 32) | 49151, MASK]
    ramp = torch.arange(1000, dtype=torch.float32) / 1000 - 0.5
    mix = lambda x: int(splitmix64(np.array([x], dtype=np.uint64))[0])  # noqa: E731
    return {
        "fnv1a64": [{"name": n, "hex": f"{fnv1a64(n):016x}"} for n in names],
        "splitmix64": [{"x": f"{x:016x}", "hex": f"{mix(x):016x}"} for x in xs],
        "uniform": [{"name": n, "amplitude": 0.01, "values": uniform(n, (8,), 0.01).tolist()} for n in names],
        "ids": {"name": "ids", "vocab": 512, "values": ids("ids", 8, 512)},
        "projections_of_ramp_1000": project(ramp).tolist(),
    }
