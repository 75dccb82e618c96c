//! The metrics as the transformers library's `TrainerState`.

use serde_json::{Value, json};

use crate::train::Trainer;

/// The metrics as the transformers library's `TrainerState`.
pub fn trainer_state(trainer: &Trainer, lines: &[Value]) -> Value {
    let config = trainer.config();
    let epoch = |step: f64| step / trainer.steps_per_epoch() as f64;
    let entry = |line: &Value| {
        let epoch = epoch(line["step"].as_f64().unwrap_or_default());
        let (prefix, mut entry) = match line["event"].as_str() {
            Some("eval") => ("eval_", json!({ "epoch": epoch, "eval_loss": line["loss"], "step": line["step"] })),
            _ => (
                "",
                json!({
                    "epoch": epoch,
                    "grad_norm": line["grad_norm"],
                    "learning_rate": line["learning_rate"],
                    "loss": line["loss"],
                    "step": line["step"],
                }),
            ),
        };
        for (name, value) in line["metrics"].as_object().into_iter().flatten() {
            entry[format!("{prefix}{name}")] = value.clone();
        }
        entry
    };
    json!({
        "epoch": epoch(trainer.steps_done() as f64),
        "global_step": trainer.steps_done(),
        "best_metric": trainer.best().map(|best| best.value),
        "best_global_step": trainer.best().map(|best| best.step),
        "max_steps": config.max_steps,
        "num_train_epochs": epoch(f64::from(config.max_steps)).ceil(),
        "train_batch_size": config.per_device_train_batch_size,
        "logging_steps": config.logging_steps,
        "eval_steps": config.eval_steps,
        "save_steps": config.save_steps,
        "log_history": lines.iter().filter(|line| line["event"] != "sample").map(entry).collect::<Vec<_>>(),
    })
}
