"""Loads a reward adapter's folder with PEFT and scores pretokenized rows, a line of JSON for each.

    python tests/golden/reward_check.py --base MODEL.gguf --adapter DIR --pad-token-id N --data rows.jsonl [--scores FILE]

A row has `prompt_ids`, `chosen_ids` and `rejected_ids`, or `completion_ids` alone. The score is that of the last token
which is not the pad token. With the output of `tunesmith score --json` in FILE, exits 1 when a score is further off than 1e-4.
"""

import argparse
import json
import math
import os
from pathlib import Path

import torch

import models
import objectives
import peft_check
from transformers import AutoModelForSequenceClassification

TOLERANCE = 1e-4


def open_base(base: str, pad: int):
    """`nano`, or a GGUF's model as transformers reads it, with a head of one score that is yet to be loaded."""
    if base == "nano":
        model = objectives.scored(models.nano())
        model.config.pad_token_id = pad
        return model
    path = os.path.abspath(base)
    return AutoModelForSequenceClassification.from_pretrained(
        os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32, num_labels=1, pad_token_id=pad,
        attn_implementation="eager",
    ).eval()  # fmt: skip


def answers(row: dict) -> dict[str, list[int]]:
    """A row's answers by what they are: chosen and rejected, or the completion."""
    return {side: row[f"{side}_ids"] for side in ("chosen", "rejected", "completion") if f"{side}_ids" in row}


def score(model, row: dict) -> dict[str, float]:
    """The score of each of a row's answers behind its prompt."""
    with torch.no_grad():
        return {
            side: model(input_ids=torch.tensor([row.get("prompt_ids", []) + answer]), use_cache=False).logits.item()
            for side, answer in answers(row).items()
        }


def ours(path: Path) -> list[dict[str, float]]:
    """The scores in a file of events, in the form of `score`."""
    found = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    found = [event["scores"] for event in found if event.get("event") == "score"]
    if not found:
        raise SystemExit(f"FAIL: {path} holds no score event")
    return [entry if isinstance(entry, dict) else {"completion": entry} for scores in found for entry in scores]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the GGUF, or `nano`")
    parser.add_argument("--adapter", required=True, type=Path)
    parser.add_argument("--pad-token-id", required=True, type=int)
    parser.add_argument("--data", required=True, type=Path, help="JSONL of pretokenized rows")
    parser.add_argument("--scores", type=Path, help="output of `tunesmith score --json`")
    args = parser.parse_args()
    torch.set_num_threads(2)
    rows = [json.loads(line) for line in args.data.read_text().splitlines() if line.strip()]
    model = peft_check.load(open_base(args.base, args.pad_token_id), args.adapter).eval()
    want = [score(model, row) for row in rows]
    for scores in want:
        print(json.dumps(scores))
    if not args.scores:
        return
    got = ours(args.scores)
    if [list(scores) for scores in got] != [list(scores) for scores in want]:
        raise SystemExit(f"FAIL: {len(rows)} rows, and tunesmith scored {len(got)}, or other answers")
    offs = [abs(g[side] - w[side]) / max(1.0, abs(w[side])) for g, w in zip(got, want) for side in w]
    worst = max(off if math.isfinite(off) else math.inf for off in offs)
    print(f"{'PASS' if worst <= TOLERANCE else 'FAIL'}: worst {worst:.2e}, tolerance {TOLERANCE:.0e}")
    raise SystemExit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
