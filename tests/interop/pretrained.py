"""A model that `tunesmith pretrain` made: transformers must read its folder and llama.cpp its GGUF as we do, and its held-out text
must cost it less than gzip -9 and than a model of the last three bytes.

  python tests/interop/pretrained.py --out DIR --text TEXT [--held-out 0.1] [--llama "python llama_cpp.py"]
      [--tunesmith target/release/tunesmith]

DIR is what `tunesmith pretrain --data TEXT --out DIR` made. It needs torch and transformers.
"""

import argparse
import collections
import gzip
import json
import math
import pathlib
import shlex

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import check, end, run

TOKENS = 32

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--out", required=True, type=pathlib.Path)
options.add_argument("--text", required=True, type=pathlib.Path)
options.add_argument("--held-out", type=float, default=0.1)
options.add_argument("--llama")
options.add_argument("--tunesmith", default="target/release/tunesmith")
chosen = options.parse_args()


def order_3(learnt: bytes, held_out: bytes) -> float:
    """Bits a byte of a model that mixes what followed the last three, two, one and no bytes, after Witten and Bell."""
    counts = [collections.defaultdict(collections.Counter) for _ in range(4)]
    for at in range(len(learnt)):
        for order in range(min(at, 3) + 1):
            counts[order][learnt[at - order : at]][learnt[at]] += 1
    bits = 0.0
    for at, byte in enumerate(held_out):
        share = 1 / 256
        for order in range(min(at, 3) + 1):
            seen = counts[order].get(held_out[at - order : at])
            if seen:
                total, kinds = sum(seen.values()), len(seen)
                share = (seen[byte] + kinds * share) / (total + kinds)
        bits -= math.log2(share)
    return bits / len(held_out)


text = chosen.text.read_bytes()
left = math.ceil((1 - chosen.held_out) * len(text))
while left and text[left] & 0xC0 == 0x80:
    left -= 1
learnt, held_out = text[:left], text[left:]
zipped = 8 * (len(gzip.compress(text, 9)) - len(gzip.compress(learnt, 9))) / len(held_out)
third = order_3(learnt, held_out)
evals = [json.loads(line) for line in (chosen.out / "run" / "metrics.jsonl").read_text().splitlines()]
ours = [event["metrics"]["bits_per_byte"] for event in evals if event["event"] == "eval"][-1]
check("bits a byte", ours < min(zipped, third), f"{ours:.3f}; gzip -9 {zipped:.3f}; the last three bytes {third:.3f}")

folder = chosen.out / "model"
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).double().eval(), AutoTokenizer.from_pretrained(folder)
rows = [json.loads(line) for line in (chosen.out / "run" / "held-out.jsonl").read_text().splitlines()]
ids = rows[0]["input_ids"]
again = tokenizer.encode(tokenizer.decode(ids[:-1]), add_special_tokens=False)
check("tokenizer", tokenizer.decode(again) == tokenizer.decode(ids[:-1]), f"{len(again)} tokens of {len(ids) - 1}")
with torch.no_grad():
    logits = model(torch.tensor([ids])).logits[0, :-1]
labels = torch.tensor(rows[0]["labels"][1:])
loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100).item()
one = chosen.out / "one.jsonl"
one.write_text(json.dumps(rows[0]) + "\n")
told = run([chosen.tunesmith, "eval", "--model", chosen.out / "model.gguf", "--data", one, "--json"])
one.unlink()
found = next(event["loss"] for event in map(json.loads, told.splitlines()) if event["event"] == "eval")
check("loss of a window in transformers", abs(found - loss) <= 1e-5 * loss, f"{loss:.6f}, ours {found:.6f}")

prompt = tokenizer.decode(ids[:12])
words = ["generate", "--model", chosen.out / "model.gguf", "--raw", "--prompt", prompt, "--max-new-tokens", TOKENS]
text = run([chosen.tunesmith, *words, "--temperature", 0]).rstrip("\n")
print(f"{prompt!r} goes on {text!r}")
if chosen.llama:
    want = run([*shlex.split(chosen.llama), "greedy", chosen.out / "model.gguf", TOKENS, prompt])
    check("llama.cpp's answer", text.strip() in eval(want[want.index("]") + 2 : want.rindex(" ")]), want.strip())
end()
