"""A whole step of GRPO, answers and all: ours on the adapter at hand and TRL's on the processor, in turns.

    cargo build --release --package tunesmith
    venv/bin/python tests/peers/grpo.py --model FILE.gguf [--prompts 8] [--answers 4] [--tokens 48] [--steps 4] [--rounds 2]

Both have the same model, TRL in f32 on two threads; LoRA (r 16, alpha 32) on the 7 linear layers; the same prompts, as text; and
a reward by a rule. An answer may end before it is as long as it may be, so the tokens that were written are told, too. The first
step of each start is left out: it compiles.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SUBJECTS = ["a fox", "a ship", "a storm", "a clock", "a garden", "a letter", "a mountain", "a lamp"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=8, help="of a step")
    parser.add_argument("--answers", type=int, default=4, help="to each prompt")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer at most")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a start")
    parser.add_argument("--rounds", type=int, default=2, help="starts of each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trl", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trl:
        for line in trl_steps(options):
            print(json.dumps(line), flush=True)
        return
    engines = {"Tunesmith": ours, "TRL": trl}
    steps = {name: [] for name in engines}
    loads = []
    for number in range(options.rounds):
        for name, run in engines.items():
            loads.append(os.getloadavg()[0])
            for line in run(options):
                steps[name].append(line)
                print(f"round {number}: {name}: {line['ms']:.0f} ms, {line['tokens']:.1f} tokens an answer", file=sys.stderr)
    print(f"{options.rounds} rounds of {options.steps} steps in turns, load average {min(loads):.1f} to {max(loads):.1f}\n")
    print("| engine | ms a step | tokens an answer | speed, of TRL's |")
    print("| --- | ---: | ---: | ---: |")
    median = {name: statistics.median(line["ms"] for line in of) for name, of in steps.items()}
    for name, of in steps.items():
        tokens = statistics.mean(line["tokens"] for line in of)
        print(f"| {name} | {median[name]:.0f} | {tokens:.1f} | {median['TRL'] / median[name]:.2f} |")


def prompts(options: argparse.Namespace) -> list[str]:
    return [f"A long story of {SUBJECTS[i % len(SUBJECTS)]}, part {i + 1}:" for i in range(options.prompts)]


def ours(options: argparse.Namespace) -> list[dict]:
    program = HERE.parents[1] / "target" / "release" / ("tunesmith.exe" if os.name == "nt" else "tunesmith")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "prompts.jsonl")
        data.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts(options)))
        batch = options.prompts * options.answers
        command = [program, "train", "--model", options.model, "--data", data, "--out", Path(folder, "out"), "--raw", "true"]
        command += ["--objective", "grpo", "--reward", "regex:the", "--num-generations", options.answers]
        command += ["--per-device-train-batch-size", batch, "--generation-batch-size", batch]
        command += ["--gradient-accumulation-steps", 1, "--max-completion-length", options.tokens]
        command += ["--max-steps", options.steps + 1, "--r", 16, "--lora-alpha", 32, "--json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"ours failed:\n{done.stderr}")
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    steps = [event for event in events if event.get("event") == "step"][1:]
    return [{"ms": step["ms"], "tokens": step["metrics"]["completions/mean_length"]} for step in steps]


def trl(options: argparse.Namespace) -> list[dict]:
    command = [sys.executable, __file__, "--trl"]
    for name in ("model", "prompts", "answers", "tokens", "steps", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"TRL failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"ms"')]


def trl_steps(options: argparse.Namespace) -> list[dict]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    folder, file = os.path.split(os.path.abspath(options.model))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # The weights are in f32 now, and TRL trains none that say that they are quantized.
    model.config.quantization_config = model.hf_quantizer = None
    model.is_quantized = False
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    steps: list[dict] = []

    class Clock(transformers.TrainerCallback):
        """From the begin of a step to that of the next, for answers are written before a step is said to begin."""

        last = time.perf_counter()

        def on_log(self, args, state, control, logs=None, **rest):
            if "completions/mean_length" in (logs or {}):
                now = time.perf_counter()
                steps.append({"ms": (now - self.last) * 1e3, "tokens": logs["completions/mean_length"]})
                self.last = now

    with tempfile.TemporaryDirectory() as out:
        batch = options.prompts * options.answers
        settings = GRPOConfig(
            output_dir=out, use_cpu=True, bf16=False, fp16=False, per_device_train_batch_size=batch,
            gradient_accumulation_steps=1, num_generations=options.answers, max_completion_length=options.tokens,
            max_steps=options.steps + 1, logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True,
            learning_rate=1e-5, temperature=1.0, seed=0, gradient_checkpointing=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **rest: [float("the" in text) for text in completions],
            args=settings,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts(options)]),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LINEARS, task_type="CAUSAL_LM"),
            callbacks=[Clock()],
        )
        trainer.train()
    return steps[1:]


main()
