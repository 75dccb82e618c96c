"""The tuning methods beside LoRA and prompt tuning, as PEFT has them, on the nano model: adapters, gradients, curves."""

import copy
import math
from pathlib import Path

import torch
from peft import (
    AdaLoraConfig, IA3Config, LNTuningConfig, LoraConfig, PrefixTuningConfig, PromptEncoderConfig, get_peft_model,
)  # fmt: skip
from transformers import Trainer

import hashing
import models
import numerics
import peft_check
import peft_make

STEPS = 20
LORA = {"target_modules": models.LINEARS, "lora_dropout": 0.0, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
VIRTUAL = {"num_virtual_tokens": 5, "task_type": "CAUSAL_LM"}
ENCODER = {"encoder_hidden_size": 24, **VIRTUAL}
SCHEDULE = {"total_step": STEPS, "tinit": 4, "tfinal": 6, "deltaT": 2, "beta1": 0.85, "beta2": 0.85}
NORMS = ["input_layernorm", "post_attention_layernorm", "norm"]

# Each method's config, and the rate of its curve.
METHODS = {
    "lora_patterns": (
        LoraConfig(
            r=4,
            rank_pattern={"layers.1.self_attn.q_proj": 3, "q_proj": 2, r"layers\.0\.mlp\.(up|down)_proj": 6},
            alpha_pattern={"v_proj": 3, "gate_proj": 16},
            **LORA,
        ),
        1e-3,
    ),
    "lora_saved": (
        LoraConfig(r=4, layers_to_transform=[1], modules_to_save=["lm_head", "embed_tokens", "norm"], **LORA),
        1e-3,
    ),
    "rslora": (LoraConfig(r=4, use_rslora=True, **LORA), 1e-3),
    "dora": (LoraConfig(r=4, use_dora=True, **LORA), 2e-3),
    "adalora": (AdaLoraConfig(init_r=6, target_r=3, orth_reg_weight=0.5, **SCHEDULE, **LORA), 1e-2),
    "ia3": (
        IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
        ),
        1e-2,
    ),
    "p_tuning_mlp": (PromptEncoderConfig(encoder_reparameterization_type="MLP", **ENCODER), 2e-3),
    "p_tuning_lstm": (PromptEncoderConfig(encoder_reparameterization_type="LSTM", **ENCODER), 2e-3),
    "prefix": (PrefixTuningConfig(**VIRTUAL), 1e-2),
    "prefix_projection": (PrefixTuningConfig(prefix_projection=True, **ENCODER), 2e-3),
    "ln_tuning": (LNTuningConfig(target_modules=NORMS, task_type="CAUSAL_LM"), 5e-3),
}

# Part of a tensor's name, what its values lie around, and their amplitude; the first that fits counts. Without an
# amplitude it is 1 / sqrt(width).
VALUES = [
    ("lora_A", 0.0, None),
    ("lora_B", 0.0, 0.1),
    ("lora_E", 0.0, 0.5),
    ("lora_magnitude_vector", 1.0, 0.1),
    ("ia3_l", 1.0, 0.2),
    ("ln_tuning_layers", 1.0, 0.1),
    ("norm.weight", 1.0, 0.1),
    ("prompt_embeddings", 0.0, 1.0),
    ("embedding.weight", 0.0, 1.0),
    ("bias", 0.0, 0.2),
    ("weight", 0.0, None),
]


# Parts of the names of tensors that a curve starts where PEFT starts them.
KNOWN = ["lora_magnitude_vector", "ia3_l", "ln_tuning_layers", "lora_E", "lm_head", "embed_tokens", "norm.weight"]


def hashed(name: str, shape) -> torch.Tensor:
    """The values of gradients and adapter folders, far from where a method changes nothing."""
    around, amplitude = next((around, amplitude) for part, around, amplitude in VALUES if part in name)
    return around + hashing.uniform(name, shape, amplitude or 1.0 / math.sqrt(shape[-1]))


def create(method: str, precision=lambda model: model, start: bool = False):
    """PEFT's adapter on nano, hashed; to start a curve, only what PEFT draws at random is."""
    # PEFT writes into the config it is given. On an f64 model it would train AdaLoRA's count of ranks.
    peft = precision(get_peft_model(models.nano(), copy.deepcopy(METHODS[method][0])))
    with torch.no_grad():
        for name, p in models.trainable(peft).items():
            # Vectors start at one, at the model's own norms, and whole modules at the model's own; B at zero, but
            # AdaLoRA's E instead.
            if not start or not (any(m in name for m in KNOWN) or ("lora_B" in name and method != "adalora")):
                p.copy_(hashed(name, p.shape))
    return peft.train()


def orthogonality(peft) -> torch.Tensor:
    """What AdaLoRA adds to the loss: orth_reg_weight times the mean over all A and B of |A A^T - I| and |B^T B - I|."""
    norms = []
    for name, p in peft.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            square = p @ p.T if "lora_A" in name else p.T @ p
            norms.append((square - torch.eye(len(square), dtype=p.dtype)).norm())
    return peft.peft_config["default"].orth_reg_weight * torch.stack(norms).mean()


def check_orthogonality(peft, example: dict) -> None:
    """PEFT adds its own to a loss that transformers rounds to f32."""
    ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
    with torch.no_grad():
        total, tokens = models.nll(peft, example)
        want = peft(input_ids=ids, labels=labels, use_cache=False).loss - total / tokens
        if abs(want - orthogonality(peft)) > 1e-5:
            raise SystemExit("FAIL: PEFT's orthogonal regularization is another")


class Budget:
    """Calls AdaLoRA's allocator after each step, and notes what it did."""

    def __init__(self, peft):
        self.peft, self.budgets, self.masked, self.margins = peft, [], [], []
        self.allocator = peft.base_model.rankallocator
        self.mask, self.allocator.mask_to_budget = self.allocator.mask_to_budget, self.note

    def note(self, model, budget: int) -> dict:
        """Masks, and notes how far apart the last score that goes and the first that stays are."""
        scores = []
        combine = self.allocator._combine_ipt
        self.allocator._combine_ipt = lambda e, ab: scores.append(combine(e, ab)) or scores[-1]
        pattern = self.mask(model, budget)
        self.allocator._combine_ipt = combine
        order = torch.cat(scores).sort().values
        gone = self.allocator.init_bgt - budget
        self.margins.append(float(order[gone] / order[gone - 1] - 1.0))
        return pattern

    def __call__(self, step: int) -> None:
        before = len(self.margins)
        self.peft.base_model.update_and_allocate(step)
        self.budgets.append(self.allocator.budget_schedule(step)[0])
        self.masked.append(len(self.margins) > before)

    def facts(self) -> dict:
        return {
            "budgets": self.budgets, "masked": self.masked, "margins": self.margins,
            "rank_pattern": {
                k.replace(".default", ""): v for k, v in self.peft.peft_config["default"].rank_pattern.items()
            },
        }  # fmt: skip


def spared(peft) -> list[str]:
    """The trained parameters that transformers' Trainer takes out of weight decay."""
    decayed = Trainer.get_decay_parameter_names(None, peft)
    own = {p: name for name, p in peft.named_parameters()}
    return [name for name, p in models.trainable(peft).items() if own[p] not in decayed]


def write_adapter(peft, examples: list[dict], folder: Path) -> list[dict]:
    """The folder as PEFT writes it, and its losses, which PEFT must find again in what it wrote."""
    want = peft_make.losses(peft, examples)
    peft_make.save(peft, folder, "nano")
    again = peft_make.losses(peft_check.load(models.nano(), folder), examples)
    if any(abs(a["loss"] - w["loss"]) > 1e-5 for a, w in zip(again, want)):
        raise SystemExit(f"FAIL: PEFT loads another adapter from {folder}")
    return want


def write(inputs: dict, out: Path, precision) -> None:
    """What does not decay, and the folder of every method."""
    numerics.write_json(out / "spared.json", {method: spared(create(method)) for method in METHODS})
    for method, (_, lr) in METHODS.items():
        folder = out / method
        adalora = method == "adalora"
        peft = create(method, precision)
        if adalora:
            check_orthogonality(peft, inputs["step"])
        penalty = orthogonality if adalora else None
        numerics.write_gradients(folder, "gradients", numerics.gradients(peft, inputs["step"], penalty), True)

        peft = create(method, precision, start=True)
        budget = Budget(peft) if adalora else None
        facts, final = numerics.curve(peft, inputs["curve"], STEPS, lr, penalty=penalty, after=budget)
        numerics.write_curve(folder, "curve", (facts | budget.facts() if budget else facts, final))

        expected = {"adapter": write_adapter(create(method), inputs["curve"], folder / "adapter")}
        if adalora:
            # What the curve left, without the ranks that it masked: it loads only by its rank pattern.
            expected["pruned"] = write_adapter(peft.float(), inputs["curve"], folder / "pruned")
        numerics.write_json(folder / "expected.json", expected)
