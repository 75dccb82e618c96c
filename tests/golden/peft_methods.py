"""Trains an adapter of every method that PEFT has with the tunesmith binary, and loads each with PEFT.

    python tests/golden/peft_methods.py --tunesmith target/debug/tunesmith --model MODEL.gguf --out DIR [--base nano]

`--model` is the file that tunesmith takes, `--base` what PEFT takes: the same file unless said otherwise. Each example's loss
is within 1e-4, and every tensor of the folder finds its place in PEFT's model; exits 1 otherwise.
"""

import argparse
import copy
import json
import subprocess
from pathlib import Path

import torch

import models
import peft_check

STEPS = 6
# The flags of each method: far enough from its start that a misplaced tensor would show.
METHODS = {
    "lora": "--method lora --r 8 --learning-rate 1e-2",
    "lora-patterns": "--method lora --r 8 --rank-pattern q_proj=4,down_proj=3 --alpha-pattern v_proj=8 --learning-rate 1e-2",
    "lora-saved": "--method lora --r 4 --layers-to-transform 0,1 --modules-to-save norm --learning-rate 1e-2",
    "rslora": "--method rslora --r 8 --learning-rate 5e-3",
    "dora": "--method dora --r 8 --learning-rate 1e-2",
    "adalora": "--method adalora --init-r 6 --target-r 3 --tinit 1 --tfinal 1 --learning-rate 5e-2",
    "ia3": "--method ia3 --learning-rate 5e-2",
    "prompt": "--method prompt --num-virtual-tokens 8",
    "p-tuning": "--method p-tuning --num-virtual-tokens 8 --learning-rate 1e-2",
    "p-tuning-lstm": "--method p-tuning --num-virtual-tokens 8 --encoder-reparameterization-type LSTM --learning-rate 1e-2",
    "prefix": "--method prefix --num-virtual-tokens 8 --learning-rate 1e-2",
    "p-tuning-v2": "--method p-tuning-v2 --num-virtual-tokens 8 --learning-rate 5e-2",
    "ln-tuning": "--method ln-tuning --learning-rate 1e-2",
}


def events(command: list[str]) -> str:
    """What a command says, which must end well."""
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAIL: {' '.join(command)}: {done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tunesmith", required=True, help="the binary")
    parser.add_argument("--model", required=True, help="the GGUF")
    parser.add_argument("--base", help="the GGUF that PEFT takes, or `nano`")
    parser.add_argument("--out", required=True, type=Path, help="a folder to make")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    torch.set_num_threads(2)
    base = models.open_base(args.base or args.model)
    args.out.mkdir(parents=True)
    examples = [json.loads(line) for line in peft_check.EXAMPLES.read_text().splitlines()]

    failed = []
    print(f"{'method':14} {'base':>9} {'PEFT':>9} {'tunesmith':>9}  worst of {len(examples)}, relative")
    for method in args.only:
        folder, common = args.out / method, ["--model", args.model, "--data", str(peft_check.EXAMPLES)]
        train = [args.tunesmith, "train", *common, "--out", str(folder), "--max-steps", str(STEPS)]
        events([*train, *METHODS[method].split()])
        losses = args.out / f"{method}.json"
        losses.write_text(events([args.tunesmith, "eval", *common, "--adapter", str(folder)]))
        rows = peft_check.compare(copy.deepcopy(base), folder, examples, losses)
        worst = max(row.off for row in rows)
        first = rows[0]
        print(f"{method:14} {first.base:9.6f} {first.peft:9.6f} {first.ours:9.6f}  {worst:.2e}", flush=True)
        if not worst <= peft_check.TOLERANCE:
            failed.append(method)
    print(f"FAIL: {', '.join(failed)}" if failed else f"PASS: {len(args.only)} methods, tolerance {peft_check.TOLERANCE:.0e}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
