//! Objectives beside TRL's own trainers: adapters that start as its did, steps, and how near their numbers are.

use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use serde_json::{Map, Value};
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::RunConfig;
use tunesmith::train::{Event, Trainer};

use crate::golden::{Curve, Summary, hash};

/// Hashed A and score head, and B hashed or zero.
pub fn adapter(model: &Model, config: &RunConfig, b: f32) -> Rc<dyn Peft> {
    let adapter = block_on(peft::create(model, config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        let inputs = tensor.weight.cols as f64;
        let amplitude = if tensor.name.contains("lora_B") { b } else { (1.0 / inputs.sqrt()) as f32 };
        adapter.params().write(index, &hash::uniform(&tensor.name, tensor.count(), amplitude));
    }
    adapter.into()
}

/// How far a number is from TRL's: relative to that, or to 0.05 where that is less.
pub fn off(got: f64, want: f64) -> f64 {
    (got - want).abs() / want.abs().max(0.05)
}

/// Compares every metric of TRL's; returns how far the farthest is off.
///
/// # Panics
/// When one is missing, or more than `most` off.
pub fn check_metrics(name: &str, got: &Map<String, Value>, want: &BTreeMap<String, f64>, most: f64) -> f64 {
    let mut worst = 0.0_f64;
    // TRL's own mean over padding and prompts stands beside ours under another name.
    for (metric, &want) in want.iter().filter(|(metric, _)| !metric.starts_with("trl/")) {
        let got = got.get(metric).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name}: {metric} is missing"));
        assert!(off(got, want) <= most, "{name}: {metric} is {got}, and TRL's is {want}");
        worst = worst.max(off(got, want));
    }
    worst
}

/// The rest of a run: loss, gradient norm and metrics of each step.
///
/// # Panics
/// When a step fails.
pub fn steps(trainer: &mut Trainer) -> Vec<(f64, f64, Map<String, Value>)> {
    let mut events = Vec::new();
    while !trainer.is_done() {
        events.extend(block_on(trainer.step()).unwrap());
    }
    events.extend(block_on(trainer.flush()).unwrap());
    let step = |event| match event {
        Event::Step { loss, grad_norm, metrics, .. } => Some((loss, grad_norm.expect("it is finite"), metrics)),
        Event::Rollout { .. } | Event::Warning { .. } => None,
        other => panic!("{other:?}"),
    };
    events.into_iter().filter_map(step).collect()
}

/// Compares the first step of a run with TRL's: its loss, the norm of the gradient, every metric, and every gradient.
///
/// # Panics
/// When one is more than 1e-4 off.
pub fn check_first(
    stem: &str,
    trainer: &mut Trainer,
    want_loss: f64,
    want_norm: f64,
    want_metrics: &BTreeMap<String, f64>,
) {
    let (loss, grad_norm, metrics) = steps(trainer).remove(0);
    assert!(off(loss, want_loss) <= 1e-4, "{stem}: loss {loss} for {want_loss}");
    assert!(off(grad_norm, want_norm) <= 1e-4, "{stem}: gradient norm {grad_norm} for {want_norm}");
    let metrics_off = check_metrics(stem, &metrics, want_metrics, 1e-4);
    let summary = Summary::read(stem);
    let grads = block_on(trainer.peft().params().read_grads()).unwrap();
    assert_eq!(grads.len(), summary.names().len(), "{stem}");
    let mut worst = 0.0_f64;
    for (tensor, grad) in trainer.peft().params().tensors.iter().zip(&grads) {
        let distance = summary.rel_l2(&tensor.name, grad);
        assert!(distance <= 1e-4, "{stem}: {} is {distance:.2e} away", tensor.name);
        worst = worst.max(distance);
    }
    println!("{stem}: loss off {:.1e}, metrics {metrics_off:.1e}, gradients {worst:.1e}", off(loss, want_loss));
}

/// Compares the losses of a run with the first of a curve of TRL's; returns what each step measured.
///
/// # Panics
/// When a loss is more than 1e-4 off.
pub fn check_curve(stem: &str, trainer: &mut Trainer, want: &Curve) -> Vec<Map<String, Value>> {
    let got = steps(trainer);
    let mut worst = 0.0_f64;
    for (step, ((loss, ..), want)) in got.iter().zip(&want.losses).enumerate() {
        assert!(off(*loss, *want) <= 1e-4, "{stem}: loss {loss} at step {}, for {want}", step + 1);
        worst = worst.max(off(*loss, *want));
    }
    println!("{stem}: {} steps, losses off {worst:.1e}", got.len());
    got.into_iter().map(|(.., metrics)| metrics).collect()
}
