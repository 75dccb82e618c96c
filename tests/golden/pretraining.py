"""Pre-training on the nano model: every weight is trained, as `tunesmith pretrain` sets it."""

import math
from pathlib import Path

import torch

import hashing
import models
import numerics

STEPS = 20
WARMUP = 3
RATE, DECAY = 2e-3, 0.1


def windows() -> list[dict]:
    """Of 24 tokens each, all of which are learnt."""
    ids = [hashing.ids(f"pretraining.{i}", 24, 512) for i in range(6)]
    return [{"input_ids": window, "labels": window} for window in ids]


def write(out: Path, precision) -> None:
    model = precision(models.nano()).train()
    # torch keeps the gradient of inputs from the row of the padding token, which is the end of a text here, too.
    model.model.embed_tokens.padding_idx = None
    examples = windows()
    named = {name: p for name, p in model.named_parameters()}
    matrices = [p for p in named.values() if p.dim() == 2]
    others = [p for p in named.values() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8, foreach=False, fused=False)
    losses, norms, rates, order = [], [], [], []
    for step in range(STEPS):
        batch = [(2 * step + i) % len(examples) for i in range(2)]
        tokens = sum(len(examples[i]["labels"]) - 1 for i in batch)
        adamw.zero_grad()
        loss = 0.0
        for i in batch:
            total, _ = models.nll(model, examples[i])
            (total / tokens).backward()
            loss += total.item()
        norms.append(torch.nn.utils.clip_grad_norm_(named.values(), 1.0, foreach=False).item())
        rate = step / WARMUP if step < WARMUP else (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
        for group in adamw.param_groups:
            group["lr"] = RATE * rate
        adamw.step()
        losses.append(loss / tokens)
        rates.append(RATE * rate)
        order.append(batch)
    facts = {
        "steps": STEPS, "learning_rate": RATE, "weight_decay": DECAY, "gradient_accumulation_steps": 2,
        "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "lr_scheduler_type": "cosine", "warmup_steps": WARMUP,
        "order": order, "losses": losses, "grad_norms": norms, "learning_rates": rates, "names": list(named),
    }  # fmt: skip
    numerics.write_json(out / "inputs.json", {"logits": [], "step": examples[0], "curve": examples})
    numerics.write_curve(out, "curve", (facts, {name: p.detach().clone() for name, p in named.items()}))
