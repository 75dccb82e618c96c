//! What a run will need on the device, told before anything of it is there: the run is rehearsed, buffer by buffer.

use std::rc::Rc;

use serde::Serialize;

use super::trainer::Trainer;
use crate::data::render::Rendered;
use crate::model::Model;
use crate::peft::{self, Peft};
use crate::settings::config::{Recompute, RunConfig};
use crate::{Error, Result};

/// Bytes on the device of one run. What a driver adds for itself is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// T of the largest batch.
    pub rows: usize,
    /// The model: weights and rotary table.
    pub model: u64,
    /// The adapter with its gradients and the optimizer's two moments.
    pub adapter: u64,
    /// Activations and their gradients.
    pub activations: u64,
    /// All of that, and what is small beside it.
    pub total: u64,
    /// Whether that is within the run's `memory_limit`.
    pub fits: bool,
}

impl Estimate {
    /// What to do where it is too much: what most of it is decides.
    pub fn advice(&self) -> &'static str {
        match self.model.max(self.adapter).max(self.activations) {
            most if most == self.adapter => {
                "most of it is what is trained, with its gradients and the optimizer's numbers: use a method or settings \
                 with fewer parameters, or raise memory_limit"
            }
            most if most == self.activations => {
                "most of it is what the model works in: use a shorter max_length or a smaller batch, or raise memory_limit"
            }
            _ => "most of it is the model: use a smaller one, or raise memory_limit",
        }
    }

    /// The error of a run that does not fit however much it computes again; `estimates` are all its own.
    pub fn none_fits(estimates: &[Self], config: &RunConfig) -> Error {
        let least = estimates.iter().min_by_key(|estimate| estimate.total);
        let needed = least.map_or(0, |estimate| estimate.total).div_ceil(1_000_000);
        Error::Config {
            field: "memory_limit".into(),
            what: format!("the run needs {needed} MB on the GPU, and may have {}", config.memory_limit),
            help: least.map_or("raise memory_limit", Self::advice).into(),
        }
    }
}

/// What a run of this config would take with each way to recompute, the fastest first. Nothing is allocated.
///
/// # Errors
/// As [`peft::create`] and [`Trainer::new`].
pub async fn estimate(
    model: &Model,
    config: &RunConfig,
    examples: &[Rendered],
    held_out: &[Rendered],
) -> Result<Vec<Estimate>> {
    estimate_run(model, config, |model, peft, config| {
        Trainer::new(model.clone(), peft, config, examples.to_vec(), held_out.to_vec())
    })
    .await
}

/// The same of any run that `run` prepares on a model with nothing there.
///
/// # Errors
/// As [`peft::create`], and as `run` fails.
pub async fn estimate_run(
    model: &Model,
    config: &RunConfig,
    run: impl Fn(&Rc<Model>, Rc<dyn Peft>, &RunConfig) -> Result<Trainer>,
) -> Result<Vec<Estimate>> {
    let mut estimates = Vec::new();
    for recompute in Recompute::FASTEST_FIRST {
        let model = Rc::new(model.rehearsal());
        let mut config = config.clone();
        config.recompute = recompute;
        let peft: Rc<dyn Peft> = peft::create(&model, &config).await?.into();
        let mut trainer = run(&model, peft.clone(), &config)?;
        let (size, stats) = trainer.rehearse()?;
        let total = model.gpu_bytes() + model.context.bytes().peak;
        estimates.push(Estimate {
            recompute,
            rows: size.rows,
            model: model.gpu_bytes(),
            adapter: 4 * peft.params().bytes(),
            activations: stats.arena_bytes,
            total,
            fits: total <= config.memory_bytes(),
        });
    }
    Ok(estimates)
}
