"""When the transformers library takes an evaluation for the best one, and when it stops a run: its own Trainer, whose
evaluations say what they are told."""

import json
import os
import random
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments

EVALUATIONS = 12


class Scripted(Trainer):
    """Evaluates to one number after another."""

    def __init__(self, values, metric, **rest):
        super().__init__(**rest)
        self.values, self.metric = iter(values), f"eval_{metric}"

    def evaluate(self, *_, **__):
        metrics = {self.metric: next(self.values)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class One(torch.nn.Module):
    """One parameter."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return {"loss": (self.weight * x).sum()}


def run(metric, patience, threshold, values):
    """The best step, and the steps done: evaluations are one a step."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, max_steps=EVALUATIONS, per_device_train_batch_size=1, use_cpu=True, report_to="none", disable_tqdm=True,
            eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, logging_strategy="no",
            load_best_model_at_end=True, metric_for_best_model=metric)
        rows = [{"x": torch.ones(1)}] * EVALUATIONS
        stop = [EarlyStoppingCallback(patience, threshold)] if patience else []
        trainer = Scripted(values, metric, model=One(), args=args, train_dataset=rows, eval_dataset=rows, callbacks=stop)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.state.best_global_step, trainer.state.global_step


def cases():
    draw = random.Random(7)
    for metric in ["loss", "rewards/accuracies"]:
        for patience, threshold in [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (2, 0.25), (4, 0.5)]:
            for trend in [-0.2, 0.0, 0.1]:
                # Quarters, so that some are alike.
                values = [round(4 * (3 + trend * at + draw.uniform(-1, 1))) / 4 for at in range(EVALUATIONS)]
                best, steps = run(metric, patience, threshold, values)
                yield {"metric": metric, "patience": patience, "threshold": threshold, "values": values, "best": best, "steps": steps}


def write(path):
    rows = ",\n".join(json.dumps(case) for case in cases())
    path.write_text(f"[\n{rows}\n]\n")
