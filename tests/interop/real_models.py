"""A real model file: our greedy answers must be llama.cpp's over the same weights, a short run must lower the loss of what is
held out, PEFT must read the adapter and llama.cpp the merged model, and the memory must be what was told.

  python tests/interop/real_models.py --model MODEL.gguf --llama "python llama_cpp.py" [--tunesmith target/release/tunesmith]
      [--data docs/starters/pirate.jsonl] [--steps 20]

`--llama` drives llama.cpp: `… quantize IN OUT 0` writes a file's weights as F32, `… tokens MODEL PROMPT` prints the ids of a prompt,
which begin with that of the beginning of a text where the file asks for one, and `… greedy MODEL N PROMPT` prints the ids of N
likeliest tokens behind them, their text and the narrowest margin. It needs torch, transformers, peft and gguf beside it.
Conversations are given to a model without a chat template as a prompt and a completion.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import gguf
from common import check, end, run

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):",
    "Water boils at a temperature of",
    "Once upon a time, there was",
    "The three primary colours are",
]
TOKENS = 16

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--model", required=True)
options.add_argument("--llama", required=True)
options.add_argument("--tunesmith", default="target/release/tunesmith")
options.add_argument("--data", default="docs/starters/pirate.jsonl")
options.add_argument("--steps", default="20")
options.add_argument("--out", help="keep what is made in this folder")
chosen = options.parse_args()


def ours(*words):
    return run([chosen.tunesmith, *words])


def llama(*words):
    return run([*shlex.split(chosen.llama), *words])


def rows_for(model, lines):
    """The rows as this model takes them."""
    if gguf.GGUFReader(model).get_field("tokenizer.chat_template"):
        return lines
    turns = [[turn["content"] for turn in json.loads(line)["messages"][-2:]] for line in lines]
    return [json.dumps({"prompt": f"{asked}\n", "completion": told}) + "\n" for asked, told in turns]


def same_answers(name, model, plain, *adapter):
    """Greedy answers of `model`, with an adapter or none, and llama.cpp's of the same weights in F32."""
    for prompt in PROMPTS:
        found = ours("generate", "--model", model, *adapter, "--raw", "--prompt", prompt, "--max-new-tokens", TOKENS,
                     "--temperature", 0).rstrip("\n")  # fmt: skip
        want = llama("greedy", plain, TOKENS, prompt)
        text = found.strip()
        check(f"{name}, {prompt!r}", text in want.replace("\\n", "\n"), f"{text!r}; llama.cpp: {want.strip()!r}")


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(chosen.out or temporary)
    folder.mkdir(exist_ok=True)
    plain = folder / "plain.gguf"
    llama("quantize", chosen.model, plain, 0)
    same_answers("base", chosen.model, plain)

    adapter, learnt, held_out = folder / "adapter", folder / "learnt.jsonl", folder / "held-out.jsonl"
    lines = rows_for(chosen.model, pathlib.Path(chosen.data).read_text().splitlines(keepends=True))
    kept = -(-len(lines) // 5)
    learnt.write_text("".join(lines[:-kept]))
    held_out.write_text("".join(lines[-kept:]))
    run_flags = ["--model", chosen.model, "--data", learnt, "--eval-data", held_out, "--max-steps", chosen.steps]
    plans = [json.loads(line) for line in ours("estimate", *run_flags, "--json").splitlines()]
    told = run([chosen.tunesmith, "train", *run_flags, "--out", adapter, "--eval-steps", int(chosen.steps) // 2,
                "--profile"], errors=True)  # fmt: skip
    measured = float(re.search(r"at most ([\d.]+) MB on the device", told).group(1))
    chosen_plan = json.loads((adapter / "run.json").read_text())["recompute"]
    estimated = next(plan["total"] for plan in plans if plan["recompute"] == chosen_plan) / 1e6
    check("memory", abs(estimated - measured) <= 0.1 * measured, f"{estimated:.1f} MB told, {measured:.1f} MB taken")
    events = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event.get("event") == "eval"]
    check("held-out loss", losses[-1] < losses[0], " ".join(f"{loss:.4f}" for loss in losses))

    merged = folder / "merged.gguf"
    ours("merge", "--model", chosen.model, "--adapter", adapter, "--outtype", "f32", "--out", merged)
    # What the adapter does not change is as it was, and llama.cpp rounds activations over weights of 8 bits.
    llama("quantize", merged, plain, 0)
    same_answers("merged", chosen.model, plain, "--adapter", adapter)

    rows, losses = folder / "rows.jsonl", folder / "losses.jsonl"
    tokens = [json.loads(llama("tokens", plain, prompt)) for prompt in PROMPTS]
    rows.write_text("".join(f"{json.dumps({'input_ids': ids, 'labels': ids})}\n" for ids in tokens))
    losses.write_text(ours("eval", "--model", chosen.model, "--adapter", adapter, "--data", rows, "--json"))
    program = pathlib.Path(__file__).parent.parent / "golden" / "peft_check.py"
    told = subprocess.run([sys.executable, program, "--base", chosen.model, "--adapter", adapter, "--data", rows,
                           "--losses", losses], capture_output=True, text=True)  # fmt: skip
    check("the adapter in PEFT", told.returncode == 0, (told.stdout or told.stderr)[-400:])
end()
