"""The preference objectives as TRL's own trainers compute them, with LoRA, on pretokenized rows."""

import copy
import math
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import models  # first, for it takes the hub offline

import torch
import trl.trainer.utils
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast, PrinterCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

import hashing
import numerics

BATCH = 4
STEPS = 20
# The amplitude of the hashed B: the model is then far from the reference, which is itself without the adapter.
LORA_B = {"nano": 0.1, "cut": 0.01, "full": 0.01}

# Eight groups, which are two batches; the sides of a group differ in length, and so do the groups of a batch.
PROMPTS = [9, 5, 12, 7, 6, 11, 4, 8]
CHOSEN = [8, 12, 5, 10, 7, 4, 9, 6]
REJECTED = [6, 9, 11, 3, 10, 8, 5, 12]
MARGINS = [0.125, 0.25, 0.375, 0.5, 0.0, 1.0, 0.75, 0.625]


class Objective(NamedTuple):
    """What is trained: a trainer, its settings by TRL's names, and the rate of its curve."""

    trainer: str
    settings: dict
    # On nano; on the other models it is a tenth.
    rate: float
    # KTO's labels, one a group: the answer is the chosen one where it is true.
    labels: tuple[bool, ...] = ()
    # Whether EOS, in which every answer of a reward's rows ends, is the pad token too.
    pad_is_eos: bool = False


T, F = True, False
CENTER = {"center_rewards_coefficient": 0.01}
SIMPO = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0}
OBJECTIVES = {
    "dpo_sigmoid": Objective("dpo", {"loss_type": "sigmoid", "beta": 0.1}, 2e-3),
    "dpo_ipo": Objective("dpo", {"loss_type": "ipo", "beta": 0.1}, 2e-3),
    "dpo_hinge": Objective("dpo", {"loss_type": "hinge", "beta": 0.1}, 1e-3),
    "dpo_robust": Objective("dpo", {"loss_type": "robust", "beta": 0.1, "label_smoothing": 0.1}, 1e-3),
    "kto": Objective(
        "kto", {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}, 2e-3, (T, F, T, F, F, T, T, F)
    ),
    # The second batch has no desirable row, and so no metrics of such.
    "kto_weights": Objective(
        "kto", {"beta": 0.1, "desirable_weight": 1.5, "undesirable_weight": 0.7}, 2e-3, (T, T, F, T, F, F, F, F)
    ),
    "orpo": Objective("orpo", {"beta": 0.1}, 2e-3),
    "cpo_sigmoid": Objective("cpo", {"loss_type": "sigmoid", "beta": 0.1, "cpo_alpha": 1.0}, 2e-3),
    "simpo": Objective("cpo", SIMPO | {"cpo_alpha": 0.0}, 2e-3),
    "simpo_nll": Objective("cpo", SIMPO | {"cpo_alpha": 1.0}, 2e-3),
    "reward": Objective("reward", CENTER, 2e-3),
    "reward_eos": Objective("reward", CENTER, 2e-3, pad_is_eos=True),
}


# ---- TRL's trainers, fed with ids ----


Theirs = trl.trainer.utils._ChunkedLogProbFunction


class Head:
    """TRL's fused head of DPO and KTO, in f64 for a model in f64: its own has logits, sums and gradients in f32."""

    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs):
        if hidden.dtype != torch.float64:
            return Theirs.apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs)
        if bias is not None or softcap is not None or (temperature, scale) != (1.0, 1.0):
            raise SystemExit("FAIL: the head has more than a weight")
        logits = hidden @ weight.T
        logps = logits.log_softmax(-1)
        chosen = logps.gather(-1, targets[:, None])[:, 0]
        with torch.no_grad():
            entropy = -(logps.exp() * logps).sum(-1)
            return chosen, entropy, None, logits.mean(-1), logits.argmax(-1) == targets


trl.trainer.utils._ChunkedLogProbFunction = Head


class Watched:
    """A trainer that keeps its losses, which transformers rounds to f32, and the gradients of its first step."""

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        if not hasattr(self, "losses"):
            self.losses = []
            # They are clipped only later.
            self.gradients = {n: p.grad.detach().clone() for n, p in models.trainable(self.model).items()}
        self.losses.append(loss.item())
        return loss


class Dpo(Watched, DPOTrainer):
    """DPO without its tokenizing."""

    def _prepare_dataset(self, dataset, *_):
        return dataset


class Kto(Watched, KTOTrainer):
    """KTO without its tokenizing; what comes behind that pairs each prompt with the answer before."""

    def _prepare_dataset(self, dataset, _processing_class, args, _name):
        def rotate(rows: dict) -> dict:
            return rows | {"KL_completion_ids": rows["completion_ids"][-1:] + rows["completion_ids"][:-1]}

        return dataset.map(rotate, batched=True, batch_size=args.per_device_train_batch_size)


class Reward(Watched, RewardTrainer):
    """The trainer of reward models takes ids as they are."""


class Paired(Watched):
    """ORPO and CPO without their tokenizing; the mean logit is that of the answers, and TRL's own stands beside it."""

    def tokenize_row(self, row: dict) -> dict:
        tokens = {}
        for side in ("chosen", "rejected"):
            prompt, answer = row["prompt_ids"], row[f"{side}_ids"]
            tokens[f"{side}_input_ids"] = prompt + answer
            tokens[f"{side}_attention_mask"] = [1] * len(prompt + answer)
            tokens[f"{side}_labels"] = [-100] * len(prompt) + answer
        return tokens

    def concatenated_forward(self, model, batch):
        outputs = super().concatenated_forward(model, batch)
        self.mean_logits = {}
        for side, logits in zip(("chosen", "rejected"), outputs[2:4]):
            answers = batch[f"{side}_labels"][:, 1:] != -100
            self.mean_logits[side] = logits[:, : answers.shape[1]][answers].mean().item()
        return outputs

    def get_batch_loss_metrics(self, model, batch, train_eval="train"):
        loss, metrics = super().get_batch_loss_metrics(model, batch, train_eval)
        for side, mean in self.mean_logits.items():
            metrics[f"trl/logits/{side}"] = metrics[f"logits/{side}"]
            metrics[f"logits/{side}"] = mean
        return loss, metrics


class Orpo(Paired, ORPOTrainer):
    """ORPO, fed with ids."""


class Cpo(Paired, CPOTrainer):
    """CPO, fed with ids."""


TRAINERS = {
    "dpo": (Dpo, DPOConfig),
    "kto": (Kto, KTOConfig),
    "orpo": (Orpo, partial(ORPOConfig, remove_unused_columns=False)),
    "cpo": (Cpo, partial(CPOConfig, remove_unused_columns=False)),
    "reward": (Reward, RewardConfig),
}


# ---- rows ----


def rows(prefix: str, vocab: int, eos: int, objective: Objective) -> list[dict]:
    """The eight groups of an objective: hashed ids."""
    found = []
    for i, (prompt, chosen, rejected) in enumerate(zip(PROMPTS, CHOSEN, REJECTED)):
        ids = lambda part, n: hashing.ids(f"{prefix}.pref.{i}.{part}", n, vocab)  # noqa: E731
        end = [eos] if objective.trainer == "reward" else []
        row = {"prompt_ids": ids("prompt", prompt)}
        sides = {"chosen_ids": ids("chosen", chosen) + end, "rejected_ids": ids("rejected", rejected) + end}
        if objective.labels:
            label = objective.labels[i]
            row |= {"completion_ids": sides["chosen_ids" if label else "rejected_ids"], "label": label}
        else:
            row |= sides
        if objective.trainer == "reward":
            row |= {"margin": MARGINS[i]}
        found.append(row)
    return found


def columns(row: dict, objective: Objective) -> dict:
    """A row as its trainer takes it: the reward's has the prompt in both sides."""
    if objective.trainer != "reward":
        return row
    sides = {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}
    return sides | {"margin": row["margin"]}


def special(pad: int, eos: int) -> PreTrainedTokenizerFast:
    """A tokenizer that says no more than which token pads."""
    words = {"<pad>": pad, "<eos>": eos} if pad != eos else {"<eos>": eos}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=next(iter(words)), eos_token="<eos>")


# ---- runs ----


def scored(model):
    """The model with a head of one score. PEFT keeps and trains a copy of the head, so its weight here does not matter."""
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    found = LlamaForSequenceClassification(config).to(model.dtype)
    found.model.load_state_dict(model.model.state_dict())
    return found.eval()


def plain(model):
    """The model without what transformers remembers of the quantized file that it came from: it would not train that."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    found = LlamaForCausalLM(config).to(model.dtype)
    found.load_state_dict(model.state_dict())
    return found.eval()


def run(model, objective: Objective, data: list[dict], pad: int, r: int, b: float, steps: int, lr: float):
    """The trainer after its run from hashed A (and score), and hashed B of amplitude b."""
    reward = objective.trainer == "reward"
    trainer_class, config_class = TRAINERS[objective.trainer]
    lora = LoraConfig(
        r=r, lora_alpha=2 * r, lora_dropout=0.0, target_modules=models.LINEARS,
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        args = config_class(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=lr,
            lr_scheduler_type="constant", optim="adamw_torch", train_sampling_strategy="sequential",
            bf16=False, gradient_checkpointing=False, use_cpu=True, dataloader_pin_memory=False, report_to="none",
            save_strategy="no", logging_steps=1, logging_nan_inf_filter=False, disable_tqdm=True, seed=42,
            **objective.settings,
        )  # fmt: skip
        trainer = trainer_class(
            model=scored(model) if reward else plain(model),
            args=args,
            train_dataset=Dataset.from_list([columns(row, objective) for row in data]),
            processing_class=special(pad, model.config.eos_token_id),
            peft_config=lora,
        )
        trainer.remove_callback(PrinterCallback)
        # PEFT makes an adapter in f32.
        trainer.model.to(model.dtype)
        with torch.no_grad():
            for name, p in models.trainable(trainer.model).items():
                p.copy_(hashing.uniform(name, p.shape, b if ".lora_B." in name else 1.0 / math.sqrt(p.shape[1])))
        trainer.train()
    return trainer


def logs(trainer) -> list[dict]:
    """What was logged of each step."""
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def metrics(trainer) -> list[dict]:
    """The same without what transformers logs of every trainer."""
    common = ["loss", "grad_norm", "learning_rate", "epoch", "step"]
    return [{k: v for k, v in entry.items() if k not in common} for entry in logs(trainer)]


def write_objective(model, which: str, name: str, r: int, steps: int, out: Path) -> None:
    """One objective: its first step at the hashed adapter, and a curve from PEFT's own start."""
    objective = OBJECTIVES[name]
    vocab, eos = model.config.vocab_size, model.config.eos_token_id
    data = rows("nano" if which == "nano" else "full", vocab, eos, objective)
    used = {i for row in data for ids in row.values() if isinstance(ids, list) for i in ids}
    pad = eos if objective.pad_is_eos else min(set(range(vocab)) - used)
    rate = objective.rate if which == "nano" else objective.rate / 10

    trainer = run(model, objective, data, pad, r, LORA_B[which], 1, rate)
    config = {"objective": objective.trainer, **objective.settings}
    config |= {"r": r, "lora_alpha": 2 * r, "per_device_train_batch_size": BATCH}
    facts = {
        "config": config, "lora_b": LORA_B[which], "pad_token_id": pad, "inputs": data, "loss": trainer.losses[0],
        "grad_norm": logs(trainer)[0]["grad_norm"], "metrics": metrics(trainer)[0], "names": list(trainer.gradients),
    }  # fmt: skip
    numerics.write_gradients(out, name, (facts, trainer.gradients), which == "nano")

    trainer = run(model, objective, data, pad, r, 0.0, steps, rate)
    final = {name: p.detach().clone() for name, p in models.trainable(trainer.model).items()}
    batches = [list(range(i, i + BATCH)) for i in range(0, len(data), BATCH)]
    facts = {
        "steps": steps, "learning_rate": rate, "weight_decay": 0.0, "gradient_accumulation_steps": 1,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "lr_scheduler_type": "constant", "warmup_steps": 0,
        "order": [batches[step % len(batches)] for step in range(steps)], "losses": trainer.losses,
        "grad_norms": [entry["grad_norm"] for entry in logs(trainer)],
        "learning_rates": [entry["learning_rate"] for entry in logs(trainer)],
        "metrics": metrics(trainer)[-1], "names": list(final),
    }  # fmt: skip
    numerics.write_curve(out, f"{name}_curve", (facts, final))


def write(model, which: str, out: Path, names=tuple(OBJECTIVES), r: int = 16, steps: int = STEPS) -> None:
    """The objectives of a model: nano, cut or full."""
    disable_progress_bars()
    for name in names:
        write_objective(model, which, name, r, steps, out)
