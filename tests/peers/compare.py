"""Tunesmith beside its peers on this machine, in turns: the same shape, the same rows, LoRA r 16 on the 7 linears.

    cargo build --release --package tunesmith
    python3 tests/peers/compare.py [--tokens 128,256] [--rounds 3] [--steps 4] [--pytorch venv/bin/python]
        [--meganeura tests/peers/meganeura/target/release/peer-meganeura]
        [--burn tests/peers/burn/target/release/peer-burn] [--encodings q4_1,f32] [--out FILE]

An encoding with +fp16 behind it is multiplied in half precision. PyTorch takes CUDA where there is one.

Each round starts every engine once, one after the other, so that a machine that gets busier meanwhile changes all of
them. A figure is the median over the rounds of each round's median. The table is Markdown on standard output; FILE gets
every round as JSON. An engine that fails is not started at that T again, and makes the exit status 1. Needs nothing but
Python's own library, and the peers' own commands (README.md beside this file).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="128,256", help="rows of a step, comma separated")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each engine")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a start")
    parser.add_argument("--encodings", default="q4_1,f32", help="of our own weights, +fp16 for products in half precision")
    parser.add_argument("--pytorch", help="a Python that has torch, transformers and peft")
    parser.add_argument("--meganeura", help="the built peer")
    parser.add_argument("--burn", help="the built peer")
    parser.add_argument("--out", type=Path, help="a file for every round")
    options = parser.parse_args()
    tokens = [int(rows) for rows in options.tokens.split(",")]

    engines = {f"Tunesmith, {encoding}": ours(encoding) for encoding in options.encodings.split(",")}
    if options.pytorch:
        engines["PyTorch + PEFT, f32"] = peer([options.pytorch, str(HERE / "pytorch_peft.py"), "--warmup", "1"])
    for name in ("meganeura", "burn"):
        if program := getattr(options, name):
            engines[f"{name}, f32"] = peer([program, "--what", "lora_step", "--warmup", "1"])

    rounds = []
    failed = set()
    for number in range(options.rounds):
        for name, run in engines.items():
            # The T's one by one: an engine that is done with one leaves nothing behind for the next.
            for rows in tokens:
                if (name, rows) in failed:
                    continue
                load = os.getloadavg()[0]
                try:
                    for what, ms in run(rows, options.steps):
                        rounds.append({"engine": name, "round": number, "t": rows, "what": what, "ms": ms, "load": load})
                        print(f"round {number}: {name}, T={rows}, {what}: {ms:.0f} ms", file=sys.stderr)
                except Failed as error:
                    failed.add((name, rows))
                    print(f"round {number}: {name}, T={rows}: {error}", file=sys.stderr)
    if options.out:
        options.out.write_text("".join(json.dumps(line) + "\n" for line in rounds))

    median = {}
    for name in engines:
        for rows in tokens:
            for what in ("step", "forward"):
                times = [r["ms"] for r in rounds if (r["engine"], r["t"], r["what"]) == (name, rows, what)]
                if times:
                    median[name, rows, what] = statistics.median(times)
    loads = [line["load"] for line in rounds]
    first = next(iter(engines))
    print(f"{cpu()}, {os.cpu_count()} cores; {options.rounds} rounds of {options.steps} steps, in turns; ", end="")
    print(f"load average {min(loads):.1f} to {max(loads):.1f}.\n")
    print("| engine | T | ms a step | tokens/s | a step to its forward | speed, of the first row's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for rows in tokens:
        for name in engines:
            step, forward = median.get((name, rows, "step")), median.get((name, rows, "forward"))
            if (name, rows) in failed:
                print(f"| {name} | {rows} | failed | – | – | – |")
            if step is None or (name, rows) in failed:
                continue
            ratio = f"{step / forward:.2f}" if forward else "–"
            first_ms = median.get((first, rows, "step"))
            relative = f"{first_ms / step:.2f}" if first_ms else "–"
            print(f"| {name} | {rows} | {step:.0f} | {rows / step * 1e3:.1f} | {ratio} | {relative} |")
    if failed:
        sys.exit(1)


class Failed(Exception):
    """An engine that ended with an error, which is the message."""


def ours(encoding: str):
    program = ROOT / "target" / "release" / ("tunesmith.exe" if os.name == "nt" else "tunesmith")

    encoding, _, half = encoding.partition("+")

    def run(rows: int, steps: int):
        flags = ["--synthetic", "smollm2-135m", "--encoding", encoding, "--only", "step", "--json"]
        flags += [f"--{half}"] if half else []
        for line in lines([str(program), "bench", *flags, "--tokens", str(rows), "--steps", str(steps)]):
            kind = line.get("what")
            if kind in ("step", "forward"):
                yield kind, line["ms"]

    return run


def peer(command: list[str]):
    def run(rows: int, steps: int):
        for line in lines([*command, "--tokens", str(rows), "--steps", str(steps)]):
            kind = {"lora_step": "step", "forward": "forward"}.get(line["what"])
            if kind:
                yield kind, line["median_ms"]

    return run


def lines(command: list[str]) -> list[dict]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
