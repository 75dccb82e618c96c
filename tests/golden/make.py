"""Writes every fixture of this folder: see README.md.

    python tests/golden/make.py --model SmolLM2-135M-Instruct.Q4_1.gguf [--only PART ...]

The parts are hash, text, early_stopping, nano, methods, architectures, pretraining, cut, full, generation, objectives and reinforcement; and ppo, which is made
only when it is asked for, and alone, with an older TRL. With --float32 --out DIR those of numbers are computed in f32:
floor.py compares them with the fixtures.
"""

import argparse
import time
from pathlib import Path

import torch
from safetensors.numpy import load_file

import architectures
import early_stopping
import generation
import hashing
import methods
import models
import numerics
import objectives
import peft_make
import pretraining
import reinforcement
import text as text_module

HERE = Path(__file__).parent
PARTS = ["hash", "text", "early_stopping", "nano", "methods", "architectures", "pretraining", "cut", "full", "generation", "objectives", "reinforcement"]


def nano_inputs() -> dict:
    """Sequences of hashed ids; the targets are the last two thirds of an example."""

    def example(name: str, n: int) -> dict:
        ids = hashing.ids(name, n, 512)
        return {"input_ids": ids, "labels": [-100 if i < n // 3 else x for i, x in enumerate(ids)]}

    return {
        "logits": [{"input_ids": hashing.ids("nano.logits", 37, 512)}],
        "step": example("nano.step", 29),
        "curve": [example(f"nano.curve.{i}", n) for i, n in enumerate([17, 24, 31, 12])],
    }


def make_nano(out: Path, precision) -> None:
    inputs = nano_inputs()
    numerics.write_json(out / "inputs.json", inputs)
    model = precision(models.nano())
    numerics.write_tensors(out / "weights.safetensors", hashing.summarise(dict(model.named_parameters())))
    numerics.write_json(out / "weights.json", {"names": [n for n, _ in model.named_parameters()]})
    numerics.everything(model, inputs, out, long=True, whole=("lora", "prompt"), r=4, lr=2e-3)
    with torch.no_grad():
        rows = models.logits(model, inputs["logits"][0]["input_ids"])
    numerics.write_tensors(
        out / "logits.safetensors", load_file(out / "logits.safetensors") | {"0.logits": rows.float().numpy()}
    )
    peft_make.write(models.nano(), inputs["curve"], out / "peft", "nano", r=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the default model's GGUF")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "ppo"], default=PARTS)
    args = parser.parse_args()
    if "ppo" in args.only and len(args.only) > 1:
        parser.error("ppo is made alone: the other parts need another TRL")
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def timed(part: str, work) -> None:
        if part in args.only:
            print(part, flush=True)
            start = time.time()
            work()
            print(f"  {time.time() - start:.1f} s", flush=True)

    precision = (lambda model: model) if args.float32 else models.reference
    text = text_module.Text(args.model)
    inputs = text_module.inputs(text)
    timed("hash", lambda: numerics.write_json(args.out / "hash.json", hashing.samples()))

    def make_text() -> None:
        numerics.write_json(args.out / "text.json", [text.conversation(m) for m in text_module.CONVERSATIONS])
        numerics.write_json(args.out / "inputs.json", inputs)

    timed("text", make_text)
    timed("early_stopping", lambda: early_stopping.write(args.out / "early_stopping.json"))
    timed("nano", lambda: make_nano(args.out / "nano", precision))
    timed("methods", lambda: methods.write(nano_inputs(), args.out / "nano" / "methods", precision))
    timed("architectures", lambda: architectures.write(nano_inputs(), args.out / "architectures", precision))
    timed("pretraining", lambda: pretraining.write(args.out / "nano" / "pretraining", precision))
    if not {"cut", "full", "generation", "objectives", "reinforcement", "ppo"} & set(args.only):
        return
    full = models.load_full(args.model)
    print(f"{models.check_dequantized(full, args.model)} tensors equal gguf.quants bit for bit")
    timed(
        "generation",
        lambda: numerics.write_json(
            args.out / "full" / "generation.json", generation.greedy(full, text, text_module.PROMPTS)
        ),
    )

    def make_cut() -> None:
        model = precision(models.cut(full))
        numerics.everything(model, inputs, args.out / "cut", whole=("prompt",))

    timed("cut", make_cut)
    timed("full", lambda: numerics.everything(precision(full), inputs, args.out / "full"))

    def make_objectives() -> None:
        folder = lambda model: args.out / model / "objectives"  # noqa: E731
        objectives.write(precision(models.nano()), "nano", folder("nano"), r=4)
        objectives.write(precision(models.cut(full)), "cut", folder("cut"))
        objectives.write(precision(full), "full", folder("full"), names=("dpo_sigmoid", "reward_eos"), steps=5)

    timed("objectives", make_objectives)

    def make_reinforcement() -> None:
        folder = lambda model: args.out / model / "reinforcement"  # noqa: E731
        reinforcement.write(precision(models.nano()), "nano", folder("nano"), r=4)
        reinforcement.write(precision(models.cut(full)), "cut", folder("cut"))

    timed("reinforcement", make_reinforcement)

    def make_ppo() -> None:
        import ppo  # stops where TRL is another than its own

        folder = lambda model: args.out / model / "reinforcement"  # noqa: E731
        ppo.write(precision(models.nano()), "nano", folder("nano"), r=4)
        ppo.write(precision(models.cut(full)), "cut", folder("cut"))

    timed("ppo", make_ppo)


if __name__ == "__main__":
    main()
