"""Loads an adapter folder with PEFT and compares its losses with those of `tunesmith eval --json`.

    tunesmith eval --model MODEL.gguf --adapter DIR --data examples.jsonl --json > eval.json
    python tests/golden/peft_check.py --base MODEL.gguf --adapter DIR --data examples.jsonl --losses eval.json

Every tensor of the folder must find its place in PEFT's model. Exits 1 when a loss is further off than 1e-4.
"""

import argparse
import json
import math
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftModel
from safetensors.torch import load_file

import models
import peft_make

TOLERANCE = 1e-4
EXAMPLES = Path(__file__).parent / "nano" / "peft" / "examples.jsonl"


class Row(NamedTuple):
    """The losses of an example: of the base, of PEFT's adapter and of ours, and how far apart the last two are."""

    tokens: int
    base: float
    peft: float
    ours: float
    off: float


def eval_event(path: Path) -> list[dict]:
    """The `examples` of the last eval event in a file of events."""
    events = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    found = [e for e in events if e.get("event") == "eval" and "examples" in e]
    if not found:
        raise SystemExit(f"FAIL: {path} holds no eval event with examples")
    return found[-1]["examples"]


def load(model, folder: Path) -> PeftModel:
    """The folder as PEFT loads it, every one of its tensors checked to have arrived."""
    peft = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    held = models.get_peft_model_state_dict(peft)
    saved = load_file(folder / "adapter_model.safetensors")
    if set(held) != set(saved):
        raise SystemExit(f"FAIL: PEFT's tensors and the file's differ: {sorted(set(held) ^ set(saved))[:8]}")
    for name, value in saved.items():
        if not torch.equal(held[name].float(), value.float()):
            raise SystemExit(f"FAIL: {name} did not load")
    return peft


def compare(model, folder: Path, examples: list[dict], losses: Path) -> list[Row]:
    """The adapter's folder on `model`, against the output of `tunesmith eval --json`."""
    ours = eval_event(losses)
    if not examples or len(ours) != len(examples):
        raise SystemExit(f"FAIL: {len(examples)} examples, {len(ours)} losses")
    base = peft_make.losses(model, examples)
    theirs = peft_make.losses(load(model, folder), examples)
    rows = []
    for i, (b, t, o) in enumerate(zip(base, theirs, ours)):
        if o["tokens"] != t["tokens"]:
            raise SystemExit(f"FAIL: example {i} has {t['tokens']} targets, tunesmith counted {o['tokens']}")
        off = abs(o["loss"] - t["loss"]) / abs(t["loss"])
        rows.append(Row(t["tokens"], b["loss"], t["loss"], o["loss"], off if math.isfinite(off) else math.inf))
    if all(row.base == row.peft for row in rows):
        raise SystemExit("FAIL: the adapter changes nothing, so nothing was compared")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the GGUF, or `nano`")
    parser.add_argument("--layers", type=int, help="keep only the first layers")
    parser.add_argument("--adapter", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path, help="JSONL of input_ids and labels")
    parser.add_argument("--losses", required=True, type=Path, help="output of `tunesmith eval --json`")
    args = parser.parse_args()
    torch.set_num_threads(2)
    examples = [json.loads(line) for line in args.data.read_text().splitlines() if line.strip()]
    model = models.open_base(args.base, args.layers)
    rows = compare(model, args.adapter, examples, args.losses)
    print("example  tokens        base        PEFT   tunesmith   relative")
    for i, row in enumerate(rows):
        print(f"{i:7}  {row.tokens:6}  {row.base:10.6f}  {row.peft:10.6f}  {row.ours:10.6f}  {row.off:9.2e}")
    worst = max(row.off for row in rows)
    print(f"{'PASS' if worst <= TOLERANCE else 'FAIL'}: worst {worst:.2e}, tolerance {TOLERANCE:.0e}")
    raise SystemExit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
