"""Loads an adapter's folder with PEFT and prints the summed log-probabilities of answers, a line of JSON for each row.

    python tests/golden/dpo_check.py --base MODEL.gguf [--layers 2] --adapter DIR --data rows.jsonl

A row has `prompt_ids`, `chosen_ids` and `rejected_ids`, or `completion_ids` alone. For each answer, `logps` is with the
adapter and `ref_logps` without: TRL's `logps/chosen` is the mean of the former over a batch, and `rewards/chosen` is beta
times the mean difference.
"""

import argparse
import json
from pathlib import Path

import torch

import models
import peft_check
import reward_check


def logps(model, row: dict) -> dict[str, float]:
    """The sum over the tokens of each of a row's answers."""
    prompt, found = row["prompt_ids"], {}
    for side, answer in reward_check.answers(row).items():
        labels = [-100] * len(prompt) + answer
        with torch.no_grad():
            found[side] = -models.nll(model, {"input_ids": prompt + answer, "labels": labels})[0].item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the GGUF, or `nano`")
    parser.add_argument("--layers", type=int, help="keep only the first layers")
    parser.add_argument("--adapter", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path, help="JSONL of pretokenized rows")
    args = parser.parse_args()
    torch.set_num_threads(2)
    peft = peft_check.load(models.open_base(args.base, args.layers), args.adapter).eval()
    for line in args.data.read_text().splitlines():
        if line.strip():
            row = json.loads(line)
            with peft.disable_adapter():
                reference = logps(peft, row)
            print(json.dumps({"logps": logps(peft, row), "ref_logps": reference}))


if __name__ == "__main__":
    main()
