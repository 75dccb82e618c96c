"""Logits, gradients and loss curves of one model."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

import hashing
import models



def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_tensors(path: Path, tensors: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)


def logits(model, sequences: list[dict], out: Path) -> None:
    """A summary of every row of the logits of each sequence."""
    vocab = model.config.vocab_size
    chosen = sorted(set(hashing.ids("vocab_ids", 80, vocab)))[:64]
    tensors = {"vocab_ids": np.array(chosen, dtype=np.int32)}
    for s, sequence in enumerate(sequences):
        with torch.no_grad():
            rows = models.logits(model, sequence["input_ids"])
        top = rows.topk(2).values
        tensors |= {
            f"{s}.norm": rows.double().norm(dim=1).float().numpy(),
            f"{s}.logsumexp": rows.double().logsumexp(1).float().numpy(),
            f"{s}.argmax": rows.argmax(1).int().numpy(),
            f"{s}.margin": (top[:, 0] - top[:, 1]).float().numpy(),
            f"{s}.sample": rows[:, chosen].float().numpy(),
            f"{s}.projections": hashing.project(rows),
        }
    write_tensors(out / "logits.safetensors", tensors)


def gradients(peft, example: dict, penalty=None) -> tuple[dict, dict[str, torch.Tensor]]:
    """Loss and gradients of the mean over the targets of one example; `penalty` is in the gradients, not in the loss."""
    peft.zero_grad()
    total, tokens = models.nll(peft, example)
    (total / tokens).backward()
    if penalty:
        added = penalty(peft)
        added.backward()
    grads = {name: p.grad.detach().clone() for name, p in models.trainable(peft).items()}
    norm = math.sqrt(sum(g.double().square().sum().item() for g in grads.values()))
    facts = {"loss": total.item() / tokens, "grad_norm": norm, "target_tokens": tokens, "names": list(grads)}
    if penalty:
        facts["penalty"] = added.item()
    return facts, grads


def constant(_step: int, _steps: int) -> float:
    return 1.0


def cosine(step: int, steps: int, warmup: int = 10) -> float:
    """transformers' get_cosine_schedule_with_warmup: the first step's rate is 0."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def curve(
    peft, examples, steps, lr, weight_decay=0.0, schedule=constant, accumulation=1, penalty=None, after=None
) -> tuple[dict, dict]:
    """AdamW over the examples in turn; one dict of the losses, one of the final parameters.

    `penalty` is added to what is minimized, once a step, and kept apart from the losses; `after` is called with each
    step's index while its gradients are still there.
    """
    params = models.trainable(peft)
    adamw = torch.optim.AdamW(
        params.values(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, foreach=False, fused=False
    )
    losses, norms, rates, order, penalties = [], [], [], [], []
    for step in range(steps):
        batch = [(step * accumulation + i) % len(examples) for i in range(accumulation)]
        tokens = sum(sum(l != -100 for l in examples[i]["labels"][1:]) for i in batch)
        adamw.zero_grad()
        loss = 0.0
        for i in batch:
            total, _ = models.nll(peft, examples[i])
            (total / tokens).backward()
            loss += total.item()
        if penalty:
            added = penalty(peft)
            added.backward()
            penalties.append(added.item())
        norm = torch.nn.utils.clip_grad_norm_(params.values(), 1.0, foreach=False)
        rate = lr * schedule(step, steps)
        adamw.param_groups[0]["lr"] = rate
        adamw.step()
        if after:
            after(step)
        losses.append(loss / tokens)
        norms.append(norm.item())
        rates.append(rate)
        order.append(batch)
    facts = {
        "steps": steps, "learning_rate": lr, "weight_decay": weight_decay, "gradient_accumulation_steps": accumulation,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "lr_scheduler_type": schedule.__name__, "warmup_steps": 10 if schedule is cosine else 0,
        "order": order, "losses": losses, "grad_norms": norms, "learning_rates": rates, "names": list(params),
    }  # fmt: skip
    if penalty:
        facts["penalties"] = penalties
    return facts, {k: p.detach().clone() for k, p in params.items()}


def write_curve(out: Path, name: str, result) -> None:
    facts, final = result
    write_json(out / f"{name}.json", facts)
    write_tensors(out / f"{name}.safetensors", hashing.summarise(final))
    print(f"  {out.name}/{name}: {facts['losses'][0]:.4f} -> {facts['losses'][-1]:.4f}", flush=True)


def write_gradients(out: Path, name: str, result, whole: bool) -> None:
    facts, grads = result
    write_json(out / f"{name}.json", facts)
    tensors = hashing.summarise(grads)
    if whole:
        tensors |= {k: g.float().numpy() for k, g in grads.items()}
    write_tensors(out / f"{name}.safetensors", tensors)
    print(f"  {out.name}/{name}: loss {facts['loss']:.6f} grad norm {facts['grad_norm']:.6f}", flush=True)


def everything(model, inputs: dict, out: Path, long: bool = False, whole: tuple[str, ...] = (), r=16, lr=2e-4) -> None:
    """All numeric fixtures of one model. `long` adds the curves with decay and of 100 steps; `whole` names gradients kept in full."""
    logits(model, inputs["logits"], out)
    examples = inputs["curve"]

    def with_lora(b: float, work):
        peft = models.lora(model, r, 2 * r, b)
        result = work(peft)
        peft.unload()
        return result

    write_gradients(
        out, "lora_gradients", with_lora(models.LORA_B, lambda p: gradients(p, inputs["step"])), "lora" in whole
    )
    write_curve(out, "lora_curve", with_lora(0.0, lambda p: curve(p, examples, 20, lr)))
    if long:
        write_curve(out, "lora_decay_curve", with_lora(0.0, lambda p: curve(p, examples, 20, lr, 1.0)))
        run = lambda p: curve(p, examples, 100, lr, 0.0, cosine, 2)  # noqa: E731
        write_curve(out, "lora_cosine_curve", with_lora(0.0, run))
    write_gradients(out, "prompt_gradients", gradients(models.prompt(model), inputs["step"]), "prompt" in whole)
    write_curve(out, "prompt_curve", curve(models.prompt(model), examples, 20, 5 * lr))
