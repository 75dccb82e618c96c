"""A model in every encoding of llama.cpp: our loss over the file must be that over the same weights in F32.

  python tests/interop/encodings.py --model MODEL.gguf --quantize "llama-quantize --allow-requantize {source} {out} {type}"
      [--tunesmith target/release/tunesmith] [--data docs/starters/taglines.jsonl] [--types Q4_K_M,Q6_K]

`--quantize` is a command line of llama.cpp's; {number} stands for llama.h's number of the type. llama.cpp itself turns each file
back into F32. Fails where two losses differ by more than 1e-5 of themselves.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

# llama.h's numbers of file types.
TYPES = {
    "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7,
    "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
}
F32 = 0
LIMIT = 1e-5

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--model", required=True)
options.add_argument("--quantize", required=True)
options.add_argument("--tunesmith", default="target/release/tunesmith")
options.add_argument("--data", default="docs/starters/taglines.jsonl")
options.add_argument("--types", default=",".join(TYPES))
chosen = options.parse_args()


def quantize(source, out, name, number):
    words = chosen.quantize.split()
    values = {"source": source, "out": out, "type": name, "number": number}
    done = subprocess.run([word.format(**values) for word in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {name} cannot be made: {done.stderr[-400:]}")


def told(*words):
    command = [chosen.tunesmith, *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAIL: {' '.join(map(str, command))}: {done.stderr[-400:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def loss(model):
    return next(event["loss"] for event in told("eval", "--model", model, "--data", chosen.data) if "loss" in event)


worst = 0.0
with tempfile.TemporaryDirectory() as folder:
    for name in chosen.types.split(","):
        coded, plain = pathlib.Path(folder, f"{name}.gguf"), pathlib.Path(folder, "plain.gguf")
        quantize(chosen.model, coded, name, TYPES[name])
        quantize(coded, plain, "F32", F32)
        [ours, same] = [loss(coded), loss(plain)]
        apart = abs(ours - same) / abs(same)
        worst = max(worst, apart)
        print(f"{name:8} {coded.stat().st_size / 1e6:7.1f} MB   {ours:.7f}   in F32 {same:.7f}   apart {apart:.1e}", flush=True)
        coded.unlink()
        plain.unlink()
print(f"{'good' if worst <= LIMIT else 'FAIL'}: at most {worst:.1e} apart")
sys.exit(worst > LIMIT)
