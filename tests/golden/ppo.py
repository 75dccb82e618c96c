"""PPO as TRL 1.12.0 computes it, with LoRA and a value head, on recorded answers and scores."""

import math
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import models  # first, for it takes the hub offline
import objectives

import numpy as np
import torch
import trl
from datasets import Dataset, disable_progress_bars

import hashing
import numerics
import reinforcement
from reinforcement import ANSWERS, LONGEST, STEPS

if trl.__version__ != "1.12.0":
    raise SystemExit(f"FAIL: PPO is made with trl 1.12.0, and this is {trl.__version__}: see README.md")

from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

VALUE = "base_model.model.value.weight"
TEMPERATURE = 0.7
# How near a ratio (relative) or a value may come to where the gradient jumps.
ROOM = 1e-4


class Objective(NamedTuple):
    """The settings of PPO by TRL's names, and the rates of its curve on nano and on cut."""

    settings: dict
    rates: tuple[float, float]


DEFAULTS = {
    "kl_coef": 0.05, "cliprange": 0.2, "num_ppo_epochs": 2, "num_mini_batches": 1, "vf_coef": 0.1,
    "cliprange_value": 0.2, "gamma": 1.0, "lam": 0.95, "whiten_rewards": False, "kl_estimator": "k1",
}  # fmt: skip
WHITEN = {
    "cliprange": 0.02, "vf_coef": 0.5, "cliprange_value": 0.05, "gamma": 0.97, "lam": 0.9, "whiten_rewards": True,
    "kl_estimator": "k3", "missing_eos_penalty": 0.5,
}  # fmt: skip
OBJECTIVES = {
    "ppo": Objective(DEFAULTS, (1e-3, 1.2e-4)),
    # Ratios and values are clipped.
    "ppo_whiten": Objective(DEFAULTS | WHITEN, (8.4e-4, 1.3e-4)),
    "ppo_minibatches": Objective(DEFAULTS | {"num_mini_batches": 2}, (1e-3, 5e-5)),
}
# What TRL calls otherwise than a run does.
OURS = {
    "kl_coef": "beta", "cliprange": "epsilon", "num_ppo_epochs": "num_iterations",
    "num_mini_batches": "steps_per_generation",
}  # fmt: skip


# ---- TRL's trainer, fed with answers and scores ----


# It shuffles the answers before it parts them into minibatches; here they stay in order.
ppo_trainer.np = SimpleNamespace(random=SimpleNamespace(permutation=np.arange))
# A variance's n / (n - 1), which is f32 where n counts a mask.
Theirs = ppo_trainer.masked_var
ppo_trainer.masked_var = lambda values, mask: Theirs(values, mask.to(values.dtype))


class Critic(torch.nn.Module):
    """A value model: the policy's own trunk, LoRA and all, under a head of one score."""

    base_model_prefix = "trunk"

    def __init__(self, policy):
        super().__init__()
        self.trunk = policy.base_model.model.model
        shape = (1, policy.config.hidden_size)
        self.score = torch.nn.Linear(shape[1], 1, bias=False, dtype=policy.dtype)
        with torch.no_grad():
            self.score.weight.copy_(hashing.uniform(VALUE, shape, shape[1] ** -0.5))


class Judge(torch.nn.Module):
    """A reward model that knows the scores of the answers."""

    base_model_prefix = "recall"

    def __init__(self, scores: torch.Tensor):
        super().__init__()
        self.scores = scores

    def recall(self, input_ids, **_):
        return SimpleNamespace(hidden_states=[self.scores[:, None, None].expand(*input_ids.shape, 1)])

    def score(self, hidden):
        return hidden


class Ppo(PPOTrainer):
    """PPO that keeps of each step what its caller's frame knows: `steps`, and `batches` of the answers."""

    def watch(self, trained: dict[str, torch.nn.Parameter]) -> None:
        self.trained, self.steps, self.batches = trained, [], []
        self.accelerator.print = lambda *_: None
        theirs = self.accelerator.backward

        def backward(loss):
            frame = sys._getframe(1).f_locals
            theirs(loss)
            squares = sum(p.grad.double().square().sum().item() for p in trained.values())
            self.steps.append({
                "loss": loss.item(), "grad_norm": math.sqrt(squares), "rows": frame["micro_batch_inds"].tolist(),
                "room": room(self.args, frame), "policy": frame["pg_loss"].item(), "value": frame["vf_loss"].item(),
            })  # fmt: skip
            if len(self.steps) == 1:
                # It does not clip them.
                self.gradients = {name: p.grad.detach().clone() for name, p in trained.items()}

        self.accelerator.backward = backward

    def log(self, logs, *_):
        frame = sys._getframe(1).f_locals
        lengths = (frame["sequence_lengths"] + 1).tolist()
        if lengths != ANSWERS:
            raise SystemExit("FAIL: the answers end where none was recorded to end")
        # Values and returns reach to the place behind an answer, where its score is.
        parts = {
            "old": ("logprobs", 0), "reference": ("ref_logprobs", 0), "values": ("values", 1),
            "advantages": ("advantages", 0), "returns": ("returns", 1),
        }  # fmt: skip
        self.batches.append({
            ours: [row[: n + more].tolist() for row, n in zip(frame[key], lengths)]
            for ours, (key, more) in parts.items()
        })

        # A loss is f32 in TRL's statistics, and these are not.
        shares = [frame[key].flatten().tolist() for key in ("pg_clipfrac_stats", "vf_clipfrac_stats")]
        told = {key: value for key, value in logs.items() if key.startswith("objective/")}
        for i, step in enumerate(self.steps[-len(shares[0]) :]):
            step["metrics"] = (told if i == 0 else {}) | {
                "loss/policy_avg": step["policy"], "loss/value_avg": step["value"],
                "policy/clipfrac_avg": shares[0][i], "val/clipfrac_avg": shares[1][i],
            }  # fmt: skip


def room(args: PPOConfig, frame: dict) -> float:
    """How near a ratio or a value is to where the gradient jumps."""
    mine = frame["micro_batch_inds"]
    advantage, c = frame["mb_advantage"], args.cliprange_value
    ratio = (frame["ratio"] / (1.0 + args.cliprange * advantage.sign()) - 1.0).abs()
    # A value on its way to a return that is farther off than c is held at c, until it is as far behind the return.
    moved, wanted = (frame[key] - frame["mb_values"] for key in ("vpred", "mb_return"))
    moved, wanted = moved.abs(), wanted * moved.sign()
    value = torch.minimum((moved - c).abs(), (2.0 * wanted - c - moved).abs())
    found = torch.cat([ratio[~frame["padding_mask"][mine]], value[~frame["padding_mask_p1"][mine] & (wanted > c)]])
    return found.min().item()


# ---- runs ----


def config(objective: Objective) -> dict:
    """The settings of an objective as a run calls them; it counts the answers of a minibatch."""
    settings = {OURS.get(key, key): value for key, value in objective.settings.items()}
    return {
        "objective": "ppo", **settings, "temperature": TEMPERATURE, "num_generations": 1,
        "max_completion_length": LONGEST,
        "per_device_train_batch_size": len(ANSWERS) // objective.settings["num_mini_batches"],
        "gradient_accumulation_steps": 1,
    }  # fmt: skip


def run(model, objective: Objective, data: list[dict], pad: int, r: int, b: float, batches: int, lr: float) -> Ppo:
    """The trainer after its run, from hashed A and value head, and hashed B of amplitude b."""
    policy = models.lora(model, r, 2 * r, b)
    critic = Critic(policy)
    width = max(reinforcement.PROMPTS)
    prompts = torch.tensor([[pad] * (width - len(row["prompt_ids"])) + row["prompt_ids"] for row in data])
    answers = torch.tensor([row["completion_ids"] + [pad] * (LONGEST - len(row["completion_ids"])) for row in data])

    @torch.no_grad()
    def replay(asked, queries, *_):
        if not torch.equal(queries, prompts):
            raise SystemExit("FAIL: other prompts are to be answered than were recorded")
        both = torch.cat((queries, answers), 1)
        return both, ppo_trainer.forward(asked, both, pad).logits[:, width - 1 : -1] / (TEMPERATURE + 1e-7)

    ppo_trainer.batch_generation = replay
    with tempfile.TemporaryDirectory() as folder:
        args = PPOConfig(
            output_dir=folder, total_episodes=batches * len(data), learning_rate=lr, lr_scheduler_type="constant",
            optim="adamw_torch", bf16=False, gradient_checkpointing=False, use_cpu=True, report_to="none",
            save_strategy="no", num_sample_generations=0, disable_tqdm=True, seed=42, stop_token="eos",
            temperature=TEMPERATURE, response_length=LONGEST,
            per_device_train_batch_size=len(data), gradient_accumulation_steps=1, **objective.settings,
        )  # fmt: skip
        trainer = Ppo(
            args=args,
            processing_class=objectives.special(pad, model.config.eos_token_id),
            model=policy,
            ref_model=None,
            reward_model=Judge(torch.tensor([row["rewards"]["score"] for row in data], dtype=model.dtype)),
            value_model=critic,
            train_dataset=Dataset.from_list([{"row": i} for i in range(len(data))]),
            # It asks for the prompts in an order of its own.
            data_collator=lambda asked: {"input_ids": prompts[sorted(row["row"] for row in asked)]},
        )
        trainer.watch(models.trainable(policy) | {VALUE: critic.score.weight})
        trainer.train()
    policy.unload()
    return trainer


def write_objective(model, which: str, name: str, r: int, steps: int, out: Path) -> None:
    """One objective: its first step at the hashed adapter, and a curve from PEFT's own start."""
    objective = OBJECTIVES[name]
    vocab, eos = model.config.vocab_size, model.config.eos_token_id
    data = reinforcement.rows("nano" if which == "nano" else "full", vocab, eos, reinforcement.OBJECTIVES["rloo"])
    used = {i for row in data for ids in (row["prompt_ids"], row["completion_ids"]) for i in ids}
    pad = min(set(range(vocab)) - used - {eos})
    rate = objective.rates[which != "nano"]
    b = objectives.LORA_B[which]

    trainer = run(model, objective, data, pad, r, b, 1, rate)
    first = trainer.steps[0]
    facts = {
        "config": {**config(objective), "r": r, "lora_alpha": 2 * r}, "lora_b": b, "eos_token_id": eos,
        "pad_token_id": pad, "inputs": data, "loss": first["loss"], "grad_norm": first["grad_norm"],
        "metrics": first["metrics"], **trainer.batches[0], "names": list(trainer.gradients),
    }  # fmt: skip
    numerics.write_gradients(out, name, (facts, trainer.gradients), which == "nano")

    each = objective.settings["num_ppo_epochs"] * objective.settings["num_mini_batches"]
    trainer = run(model, objective, data, pad, r, 0.0, -(-steps // each), rate)
    taken = trainer.steps
    nearest = min(step["room"] for step in taken)
    final = {name: p.detach().clone() for name, p in trainer.trained.items()}
    facts = {
        "steps": len(taken), "learning_rate": rate, "weight_decay": 0.0, "gradient_accumulation_steps": 1,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant", "warmup_steps": 0, "order": [step["rows"] for step in taken],
        "losses": [step["loss"] for step in taken], "grad_norms": [step["grad_norm"] for step in taken],
        "learning_rates": [rate] * len(taken),
        "metrics": {key: [step["metrics"].get(key) for step in taken] for key in taken[0]["metrics"]},
        "names": list(final),
    }  # fmt: skip
    numerics.write_curve(out, f"{name}_curve", (facts, final))
    print(f"    nearest to where a gradient jumps: {nearest:.1e}", flush=True)
    if nearest < ROOM:
        raise SystemExit(f"FAIL: {name}_curve comes too near to it")


def write(model, which: str, out: Path, names=tuple(OBJECTIVES), r: int = 16, steps: int = STEPS) -> None:
    """The objectives of a model: nano or cut. A curve has the steps of whole batches of answers."""
    disable_progress_bars()
    for name in names:
        write_objective(model, which, name, r, steps, out)
