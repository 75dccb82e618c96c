"""GRPO and RLOO as TRL's own trainers compute them, with LoRA, on recorded answers and rewards."""

import math
import tempfile
from pathlib import Path
from typing import NamedTuple

import models  # first, for it takes the hub offline
import objectives

import torch
import trl.trainer.grpo_trainer
import trl.trainer.rloo_trainer
import trl.trainer.utils
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import hashing
import numerics

STEPS = 10
GROUP = 4
LONGEST = 9
# Two prompts and the answers to each, whose last token is EOS but for the two that are as long as they may.
PROMPTS = [5, 9]
ANSWERS = [4, 7, 3, 9, 6, 2, 9, 5]
REWARDS = {"score": [1.0, 0.0, 0.5, -1.0, 0.0, 1.0, 1.0, 0.25]}
# The second function knows nothing of two answers, and neither of them of the last but one.
TWO_REWARDS = {
    "right": [1.0, 0.0, 0.5, -1.0, 0.0, 1.0, None, 0.25],
    "brief": [0.25, -0.5, None, 1.0, 0.75, 0.0, None, 1.0],
}


class Objective(NamedTuple):
    """What is trained: a trainer, its settings by TRL's names, and the rewards of the answers."""

    trainer: str
    settings: dict
    # Of the curve, on nano and on cut. With two iterations they are such that no ratio comes nearer than 1e-4 to the
    # bound at which it is clipped, where the gradient jumps.
    rates: tuple[float, float] = (2e-3, 1e-4)
    rewards: dict[str, list[float | None]] = REWARDS
    # Micro-batches of a step, which is always over all answers.
    accumulation: int = 1


def grpo(loss_type: str, beta: float = 0.0, **settings) -> dict:
    return {"loss_type": loss_type, "beta": beta, **settings}


TWICE = {"num_iterations": 2}
CLIPPED = {"normalize_advantages": True, "reward_clip_range": [-0.5, 0.8]}
OBJECTIVES = {
    **{f"grpo_{loss}": Objective("grpo", grpo(loss)) for loss in ("dapo", "grpo", "bnpo", "dr_grpo")},
    "grpo_sequence": Objective("grpo", grpo("grpo", importance_sampling_level="sequence", **TWICE), (2e-3, 5e-5)),
    "grpo_batch": Objective("grpo", grpo("dapo", scale_rewards="batch")),
    "grpo_none": Objective("grpo", grpo("dapo", scale_rewards="none")),
    "grpo_beta": Objective("grpo", grpo("dapo", 0.04, **TWICE), (1e-3, 5e-5)),
    "grpo_beta_plain": Objective("grpo", grpo("dapo", 0.04, use_bias_correction_kl=False, **TWICE), (1e-3, 5e-5)),
    "grpo_iterations": Objective("grpo", grpo("dapo", epsilon=0.02, epsilon_high=0.03, **TWICE), (4.5e-4, 2.25e-5)),
    "grpo_accumulation": Objective("grpo", grpo("dapo"), accumulation=2),
    "grpo_truncated": Objective("grpo", grpo("dapo", mask_truncated_completions=True)),
    "grpo_two_rewards": Objective("grpo", grpo("dapo", reward_weights=[1.0, 0.5]), rewards=TWO_REWARDS),
    "rloo": Objective("rloo", {"beta": 0.05}),
    "rloo_normalized": Objective("rloo", {"beta": 0.05, **CLIPPED, **TWICE}, (6.5e-4, 5e-5)),
}


# ---- TRL's trainers, fed with answers ----


class Head:
    """That of `objectives`, with a temperature."""

    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, *rest):
        if hidden.dtype == torch.float64:
            hidden, temperature = hidden / temperature, 1.0
        return objectives.Head.apply(hidden, weight, bias, targets, temperature, *rest)


trl.trainer.utils._ChunkedLogProbFunction = Head
# TRL shuffles the answers before it parts them into micro-batches; here they stay in order.
for module in (trl.trainer.grpo_trainer, trl.trainer.rloo_trainer):
    module.shuffle_sequence_dict = lambda rows: rows


class Recorded(objectives.Watched):
    """A trainer whose answers are those of its `recorded` rows."""

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        if len(self.losses) <= self.args.gradient_accumulation_steps:
            self.gradients = {n: p.grad.detach().clone() for n, p in models.trainable(self.model).items()}
        return loss

    def _calculate_rewards(self, *args):
        # Its own are f32, and what is made of them would be.
        return super()._calculate_rewards(*args).to(self.model.dtype)

    def _compute_loss(self, model, inputs):
        if any(inputs[key].tolist() != want for key, want in self.expected().items()):
            raise SystemExit("FAIL: what reaches the loss is not what was recorded")
        return super()._compute_loss(model, inputs)

    def expected(self) -> dict[str, list[list[int]]]:
        """The ids and masks of a micro-batch: prompts are padded in front, answers behind."""
        size = self.args.per_device_train_batch_size
        start = self._step % self.args.gradient_accumulation_steps * size
        pad, eos = self.processing_class.pad_token_id, self.processing_class.eos_token_id
        found = {key: [] for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")}
        for row in self.recorded[start : start + size]:
            prompt, answer = row["prompt_ids"], row["completion_ids"]
            before, behind = max(PROMPTS) - len(prompt), max(ANSWERS) - len(answer)
            kept = answer[-1] == eos or not self.mask_truncated_completions
            found["prompt_ids"].append([pad] * before + prompt)
            found["prompt_mask"].append([0] * before + [1] * len(prompt))
            found["completion_ids"].append(answer + [pad] * behind)
            found["completion_mask"].append([int(kept)] * len(answer) + [0] * behind)
        return found


class Grpo(Recorded, GRPOTrainer):
    """GRPO; the answers come from its `rollout_func`."""


class Rloo(Recorded, RLOOTrainer):
    """RLOO without its tokenizing and generating."""

    def _tokenize_prompts(self, prompts: list):
        return [row["prompt_ids"] for row in self.recorded], None, {}

    def _generate_single_turn(self, *_):
        return [row["completion_ids"] for row in self.recorded]


TRAINERS = {"grpo": (Grpo, GRPOConfig), "rloo": (Rloo, RLOOConfig)}


# ---- rows ----


def rows(prefix: str, vocab: int, eos: int, objective: Objective) -> list[dict]:
    """The answers of an objective, those to a prompt together: hashed ids."""
    ids = lambda name, n: hashing.ids(f"{prefix}.rollout.{name}", n, vocab)  # noqa: E731
    found = []
    for i, n in enumerate(ANSWERS):
        group = i // GROUP
        answer = ids(f"{i}.completion", n)
        if n < LONGEST:
            answer[-1] = eos
        found.append({
            "prompt_ids": ids(f"{group}.prompt", PROMPTS[group]),
            "completion_ids": answer,
            "rewards": {name: values[i] for name, values in objective.rewards.items()},
        })  # fmt: skip
    if any(eos in row["prompt_ids"] + row["completion_ids"][:-1] for row in found):
        raise SystemExit("FAIL: a hashed id is EOS")
    return found


def reward(name: str, data: list[dict]):
    """A reward function for TRL, which takes its name."""

    def function(completion_ids: list[list[int]], **_) -> list[float | None]:
        if completion_ids != [row["completion_ids"] for row in data]:
            raise SystemExit("FAIL: other answers are to be rewarded than were recorded")
        return [row["rewards"][name] for row in data]

    function.__name__ = name
    return function


# ---- runs ----


def config(objective: Objective) -> dict:
    """The settings of an objective that TRL has, and a run."""
    return {
        **objective.settings, "temperature": 0.7, "num_generations": GROUP, "max_completion_length": LONGEST,
        "per_device_train_batch_size": len(ANSWERS) // objective.accumulation,
        "gradient_accumulation_steps": objective.accumulation,
    }  # fmt: skip


def run(model, objective: Objective, data: list[dict], pad: int, r: int, b: float, steps: int, lr: float):
    """The trainer after its run from hashed A, and hashed B of amplitude b."""
    trainer_class, config_class = TRAINERS[objective.trainer]
    lora = LoraConfig(r=r, lora_alpha=2 * r, lora_dropout=0.0, target_modules=models.LINEARS, task_type="CAUSAL_LM")
    replay = lambda _prompts, _trainer: {  # noqa: E731
        "prompt_ids": [row["prompt_ids"] for row in data],
        "completion_ids": [row["completion_ids"] for row in data],
        "logprobs": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        args = config_class(
            output_dir=folder, max_steps=steps, learning_rate=lr, lr_scheduler_type="constant", optim="adamw_torch",
            shuffle_dataset=False, bf16=False, gradient_checkpointing=False, use_cpu=True, dataloader_pin_memory=False,
            report_to="none", save_strategy="no", logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True,
            seed=42, **config(objective),
        )  # fmt: skip
        trainer = trainer_class(
            model=objectives.plain(model),
            args=args,
            reward_funcs=[reward(name, data) for name in objective.rewards],
            train_dataset=Dataset.from_list([{"prompt": str(i)} for i in range(len(PROMPTS))]),
            processing_class=objectives.special(pad, model.config.eos_token_id),
            peft_config=lora,
            **({"rollout_func": replay} if objective.trainer == "grpo" else {}),
        )
        trainer.recorded = data
        trainer.remove_callback(PrinterCallback)
        # PEFT makes an adapter in f32.
        trainer.model.to(model.dtype)
        with torch.no_grad():
            for name, p in models.trainable(trainer.model).items():
                p.copy_(hashing.uniform(name, p.shape, b if ".lora_B." in name else 1.0 / math.sqrt(p.shape[1])))
        trainer.train()
    return trainer


def losses(trainer) -> list[float]:
    """The loss of each step."""
    n = trainer.args.gradient_accumulation_steps
    return [sum(trainer.losses[i : i + n]) for i in range(0, len(trainer.losses), n)]


def metrics(trainer) -> list[dict]:
    """What TRL logged of each step, without the time that it took."""
    return [{k: v for k, v in entry.items() if k != "step_time"} for entry in objectives.metrics(trainer)]


def write_objective(model, which: str, name: str, r: int, steps: int, out: Path) -> None:
    """One objective: its first step at the hashed adapter, and a curve from PEFT's own start."""
    objective = OBJECTIVES[name]
    vocab, eos = model.config.vocab_size, model.config.eos_token_id
    data = rows("nano" if which == "nano" else "full", vocab, eos, objective)
    used = {i for row in data for ids in (row["prompt_ids"], row["completion_ids"]) for i in ids}
    pad = min(set(range(vocab)) - used - {eos})
    rate = objective.rates[which != "nano"]
    b = objectives.LORA_B[which]

    trainer = run(model, objective, data, pad, r, b, 1, rate)
    facts = {
        "config": {"objective": objective.trainer, **config(objective), "r": r, "lora_alpha": 2 * r}, "lora_b": b,
        "eos_token_id": eos, "pad_token_id": pad, "inputs": data, "loss": losses(trainer)[0],
        "grad_norm": objectives.logs(trainer)[0]["grad_norm"], "metrics": metrics(trainer)[0],
        "names": list(trainer.gradients),
    }  # fmt: skip
    numerics.write_gradients(out, name, (facts, trainer.gradients), which == "nano")

    trainer = run(model, objective, data, pad, r, 0.0, steps, rate)
    final = {name: p.detach().clone() for name, p in models.trainable(trainer.model).items()}
    logged = metrics(trainer)
    keys = dict.fromkeys(key for step in logged for key in step)
    facts = {
        "steps": steps, "learning_rate": rate, "weight_decay": 0.0,
        "gradient_accumulation_steps": objective.accumulation,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "lr_scheduler_type": "constant", "warmup_steps": 0, "order": [list(range(len(data)))] * steps,
        "losses": losses(trainer), "grad_norms": [entry["grad_norm"] for entry in objectives.logs(trainer)],
        "learning_rates": [entry["learning_rate"] for entry in objectives.logs(trainer)],
        "metrics": {key: [step.get(key) for step in logged] for key in keys},
        "names": list(final),
    }  # fmt: skip
    numerics.write_curve(out, f"{name}_curve", (facts, final))


def write(model, which: str, out: Path, names=tuple(OBJECTIVES), r: int = 16, steps: int = STEPS) -> None:
    """The objectives of a model: nano or cut."""
    disable_progress_bars()
    for name in names:
        write_objective(model, which, name, r, steps, out)
