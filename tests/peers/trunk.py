"""A run with the trunk cache beside the same run without it, in turns: LoRA of rank 16 on the top layers.

    cargo build --release --package tunesmith
    python3 tests/peers/trunk.py [--layers 6] [--modules all-linear,q_proj+v_proj] [--rounds 3]
        [--words 444] [--batch 1]

Made-up examples of one long prompt and a short answer, three epochs of eight steps, on the default model. Figures are
medians: of the steps from the second epoch on, of the same steps of a run without the cache, and of the first epoch,
which fills the cache, but for its first step, which compiles. Both runs must give the same losses and the same adapter,
to the bit. Needs nothing but Python's own library.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target" / "release" / ("tunesmith.exe" if os.name == "nt" else "tunesmith")
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards boil green tea beside old stone walls".split()
STEPS = 8
LAYERS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6, help="layers that are trained, the topmost")
    parser.add_argument("--modules", default="all-linear,q_proj+v_proj", help="target modules, one run after the other")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each run")
    parser.add_argument("--words", type=int, default=444, help="words of a prompt")
    parser.add_argument("--batch", type=int, default=1, help="examples of a step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "examples.jsonl")
        examples = [example(index, options.words) for index in range(STEPS * options.batch)]
        data.write_text("".join(json.dumps(example) + "\n" for example in examples))
        print("| target modules | tokens | targets | load | without, ms | first epoch, ms | later, ms | to without | to first |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for modules in options.modules.split(","):
            ratios = []
            for _ in range(options.rounds):
                load = os.getloadavg()[0]
                without, cached = (train(Path(folder), data, modules, options, cache) for cache in (0, 1000))
                if (without["losses"], without["adapter"]) != (cached["losses"], cached["adapter"]):
                    sys.exit("the losses or the adapters differ")
                ratios.append((without["later"] / cached["later"], cached["first"] / cached["later"]))
                times = [without["later"], cached["first"], cached["later"]]
                row = [modules, cached["tokens"], cached["targets"], f"{load:.1f}"]
                row += [f"{ms:.0f}" for ms in times] + [f"{ratio:.2f}" for ratio in ratios[-1]]
                print("|", " | ".join(str(cell) for cell in row), "|", flush=True)
            medians = [f"{statistics.median(column):.2f}" for column in zip(*ratios)]
            print(f"| {modules}, median | | | | | | |", " | ".join(medians), "|", flush=True)


def example(seed: int, words: int) -> dict:
    chosen = random.Random(seed)
    prompt = " ".join(chosen.choice(WORDS) for _ in range(words))
    return {"prompt": f"Summarize text {seed}: {prompt}", "completion": "A short answer about foxes and tea."}


def train(folder: Path, data: Path, modules: str, options: argparse.Namespace, cache: int) -> dict:
    top = "|".join(str(layer) for layer in range(LAYERS - options.layers, LAYERS))
    names = ".*" if modules == "all-linear" else f".*({modules.replace('+', '|')})"
    out = Path(tempfile.mkdtemp(dir=folder), "run")
    command = [str(PROGRAM), "train", "--data", str(data), "--out", str(out), "--json"]
    command += ["--target-modules", rf"model\.layers\.({top})\.{names}", "--trunk-cache", str(cache)]
    command += ["--r", "16", "--max-steps", str(3 * STEPS), "--gradient-accumulation-steps", "1"]
    command += ["--per-device-train-batch-size", str(options.batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    steps = [event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "step"]
    adapter = next(out.rglob("adapter_model.safetensors")).read_bytes()
    return {
        "first": statistics.median(step["ms"] for step in steps[1:STEPS]),
        "later": statistics.median(step["ms"] for step in steps[STEPS:]),
        "losses": [step["loss"] for step in steps],
        "adapter": hashlib.sha256(adapter).hexdigest(),
        "tokens": steps[0]["tokens"],
        "targets": steps[0]["target_tokens"],
    }


if __name__ == "__main__":
    main()
