"""Tokens a second, of one sequence and of eight at once: ours on the adapter at hand and llama.cpp's on the processor, in turns.

    cargo build --release --package tunesmith
    venv/bin/python tests/peers/generation.py --model FILE.gguf --libraries FOLDER --declarations FILE [--rounds 3]

`llama_cpp.py` says what the last two are.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SLOTS = (1, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--libraries", "--declarations"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each engine")
    options = parser.parse_args()
    program = HERE.parents[1] / "target" / "release" / ("tunesmith.exe" if os.name == "nt" else "tunesmith")
    libraries = ["--libraries", options.libraries, "--declarations", options.declarations]
    engines = {
        "Tunesmith": [str(program), "bench", "--only", "decode", "--json", "--model", options.model],
        "llama.cpp": [sys.executable, str(HERE / "llama_cpp.py"), "--model", options.model, *libraries],
    }
    rates = {(name, slots): [] for name in engines for slots in SLOTS}
    loads = []
    for number in range(options.rounds):
        for name, command in engines.items():
            loads.append(os.getloadavg()[0])
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr}")
            for line in map(json.loads, filter(lambda line: line.startswith("{"), done.stdout.splitlines())):
                if line.get("what") == "decode" and "tokens_per_second" in line:
                    rates[name, line["slots"]].append(line["tokens_per_second"])
                    print(f"round {number}: {name}, {line['slots']}: {line['tokens_per_second']:.1f}/s", file=sys.stderr)
    median = {key: statistics.median(of) for key, of in rates.items()}
    print(f"{options.rounds} rounds in turns, load average {min(loads):.1f} to {max(loads):.1f}\n")
    print("| engine | one, tokens/s | eight, tokens/s | eight to one |")
    print("| --- | ---: | ---: | ---: |")
    for name in engines:
        one, eight = (median[name, slots] for slots in SLOTS)
        print(f"| {name} | {one:.1f} | {eight:.1f} | {eight / one:.2f} |")
    one, eight = (median["Tunesmith", slots] / median["llama.cpp", slots] for slots in SLOTS)
    print(f"| ours to llama.cpp's | {one:.2f} | {eight:.2f} | |")


main()
