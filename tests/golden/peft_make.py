"""Writes adapter folders as PEFT writes them, hash-initialised, with the losses to expect from them.

    python tests/golden/peft_make.py --base MODEL.gguf [--layers 2] --data examples.jsonl --out DIR [--r 16]
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

import models


def losses(peft, examples: list[dict]) -> list[dict]:
    """Mean NLL over the targets of each example: the `examples` array of `tunesmith eval --json`."""
    peft.eval()
    with torch.no_grad():
        sums = [models.nll(peft, e) for e in examples]
    return [{"loss": total.item() / tokens, "tokens": tokens} for total, tokens in sums]


def save(peft, folder: Path, base: str) -> None:
    """A PEFT folder, without the model card (its text is PEFT's, and no reader needs it)."""
    shutil.rmtree(folder, ignore_errors=True)
    for config in peft.peft_config.values():
        config.base_model_name_or_path = base
    peft.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    # PEFT writes sets in hash order; a fixture has one spelling.
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config = {k: sorted(v) if k == "target_modules" and v else v for k, v in sorted(config.items())}
    path.write_text(json.dumps(config, indent=2) + "\n")


def write(model, examples: list[dict], out: Path, base: str, r: int) -> None:
    """`lora/` and `prompt/` under out, and `expected.json`."""
    out.mkdir(parents=True, exist_ok=True)
    expected = {"base": losses(model, examples)}
    peft = models.lora(model, r, 2 * r)
    expected["lora"] = losses(peft, examples)
    save(peft, out / "lora", base)
    peft.unload()
    peft = models.prompt(model)
    expected["prompt"] = losses(peft, examples)
    save(peft, out / "prompt", base)
    with open(out / "examples.jsonl", "w") as f:
        for e in examples:
            f.write(json.dumps({"input_ids": e["input_ids"], "labels": e["labels"]}) + "\n")
    (out / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="the GGUF, or `nano`")
    parser.add_argument("--layers", type=int, help="keep only the first layers")
    parser.add_argument("--data", required=True, type=Path, help="JSONL of input_ids and labels")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--r", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(2)
    model = models.open_base(args.base, args.layers)
    examples = [json.loads(line) for line in args.data.read_text().splitlines() if line.strip()]
    write(model, examples, args.out, Path(args.base).stem, args.r)
    print((args.out / "expected.json").read_text())


if __name__ == "__main__":
    main()
