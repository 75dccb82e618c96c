"""How near PyTorch in f32 comes to the f64 fixtures: what no f32 engine can be asked to beat by much.

    python tests/golden/make.py --model MODEL.gguf --float32 --out DIR --only nano methods cut full objectives
    python tests/golden/floor.py DIR
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).parent


def summaries(a: Path, b: Path) -> np.ndarray:
    """rel-L2 of every tensor of a summary, from the projections."""
    x, y = load_file(a), load_file(b)
    off = np.sqrt(np.mean((x["projections"].astype(np.float64) - y["projections"]) ** 2, axis=1))
    return off / y["norm"]


def main() -> None:
    other = Path(sys.argv[1])
    for model in [m for m in ["nano", "cut", "full"] if (other / m).is_dir()]:
        x, y = (load_file(d / model / "logits.safetensors") for d in (other, HERE))
        worst = 0.0
        for s in range(sum(k.endswith(".norm") for k in y)):
            off = ((x[f"{s}.projections"].astype(np.float64) - y[f"{s}.projections"]) ** 2).mean(axis=1).sum()
            worst = max(worst, float(np.sqrt(off / (y[f"{s}.norm"].astype(np.float64) ** 2).sum())))
        print(f"{model}: logits, worst sequence {worst:.1e}")
        for path in sorted((HERE / model).rglob("*.json")):
            name = path.relative_to(HERE / model).with_suffix("")
            curve = path.stem.endswith("curve")
            if path.stem.endswith("gradients") or (path.parent.name == "objectives" and not curve):
                off = summaries(other / model / f"{name}.safetensors", path.with_suffix(".safetensors"))
                print(f"{model}: {name}, median {np.median(off):.1e}, worst {off.max():.1e}")
            if curve:
                a, b = (json.loads((d / model / f"{name}.json").read_text())["losses"] for d in (other, HERE))
                off = max(abs(p - q) / q for p, q in zip(a, b))
                print(f"{model}: {name}, worst loss {off:.1e}, {b[0]:.3f} -> {b[-1]:.3f}")


if __name__ == "__main__":
    main()
