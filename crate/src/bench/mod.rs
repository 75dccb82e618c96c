//! The yardstick: what the adapter can do, what each op makes of it, and what a step of training costs.
//!
//! Everything goes through the tape, the pass and the optimizer as training does, and names no kernel, so the numbers
//! before and after a kernel is rewritten are of the same work. Peaks are measured in the same run, for a share of
//! them survives a busy machine better than a time does.

mod decode;
mod ops;
mod peak;
mod shape;
mod step;
pub mod synthetic;
mod timing;

pub use decode::DecodeCost;
pub use ops::OpCost;
pub use peak::Peak;
pub use shape::{SHAPES, Shape};
pub use step::{Profile, StepCost};
pub use timing::Timing;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::data::batch::ROUND;
use crate::data::batch::Size;
use crate::gpu::Form;
use crate::model::Model;
use crate::ops::{Tried, tune};
use crate::peft::{self, Peft};
use crate::settings::config::{Method, RunConfig};
use crate::train::untuned;
use crate::{Error, Result};

/// What is measured. Peaks always are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The T's that ops and steps are measured at.
    pub tokens: Vec<usize>,
    /// Timed steps and forward passes at each T: at least one.
    pub steps: usize,
    /// Rank of LoRA beside each of the seven linear layers.
    pub r: usize,
    /// Try the forms of each product first, even on an adapter whose default is known to be the fastest.
    pub tune: bool,
    /// The parts to measure.
    pub parts: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Each op by itself.
    Kernel,
    /// Steps of training and forward passes.
    Step,
    /// Generation.
    Decode,
}

impl Part {
    /// All of them, in the order they are measured.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::Step, Self::Decode];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Step => "step",
            Self::Decode => "decode",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { tokens: vec![128, 256, 512], steps: 10, r: 16, tune: false, parts: Part::ALL.into() }
    }
}

/// What each form of some work takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormCost {
    /// Its class: of a product direction, encoding, and rows x columns x depth; of attention its kernel and rows x heads /
    /// key-value heads x columns of one.
    pub work: String,
    /// Milliseconds by form; of attention both ways together.
    pub ms: BTreeMap<&'static str, f64>,
    /// The form that is used from here on.
    pub fastest: &'static str,
}

impl FormCost {
    fn of(tried: &Tried) -> Self {
        Self {
            work: tried.work.class(),
            ms: tried.forms.iter().map(|&(form, ms)| (form.name(), ms)).collect(),
            fastest: tried.fastest().map_or("", Form::name),
        }
    }
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Measurement {
    /// What the adapter does at most.
    Peak(Peak),
    /// A product in each of its forms.
    Tune(FormCost),
    /// One op by itself.
    Kernel(OpCost),
    /// A step of training.
    Step(StepCost),
    /// Where the time of a step goes.
    Profile(Profile),
    /// A forward pass.
    Forward {
        /// What it costs.
        #[serde(flatten)]
        cost: StepCost,
        /// How many forward passes a step takes, in the medians.
        step_per_forward: f64,
    },
    /// Generation.
    Decode(DecodeCost),
}

/// Measures a model; `tell` is given each result as it comes, and ends the bench with an error.
///
/// # Errors
/// [`Error::Config`] for a T that the model has no positions for, or that no batch has, and for no steps;
/// [`Error::Limit`] for what the device cannot hold; [`Error::Gpu`] when it failed.
pub async fn run(model: &Model, settings: &Settings, mut tell: impl FnMut(Measurement) -> Result<()>) -> Result<()> {
    for &tokens in &settings.tokens {
        check(model, tokens)?;
    }
    if settings.steps == 0 {
        let (what, help) = ("there is no step to time".into(), "give at least 1".into());
        return Err(Error::Config { field: "steps".into(), what, help });
    }
    let mut config = RunConfig::new(Method::Lora);
    config.set("r", &settings.r.to_string())?;
    config.set("target_modules", "all-linear")?;
    let peft = peft::create(model, &config).await?;
    let peft: &dyn Peft = peft.as_ref();

    let peak = peak::measure(&model.context).await?;
    tell(Measurement::Peak(peak))?;
    for &tokens in &settings.tokens {
        let work = if settings.tune || !model.context.info().software {
            untuned(model, peft, Size { rows: tokens, targets: tokens })?
        } else {
            Vec::new()
        };
        let mut tried = Vec::new();
        tune(&model.context, &work, f64::INFINITY, |_, _, piece| tried.push(FormCost::of(piece))).await?;
        tried.into_iter().try_for_each(|cost| tell(Measurement::Tune(cost)))?;
    }
    if settings.parts.contains(&Part::Kernel) {
        let ops = ops::Ops { model, peft, peak };
        for &tokens in &settings.tokens {
            ops.measure(tokens, &mut |cost| tell(Measurement::Kernel(cost))).await?;
        }
        tell(Measurement::Kernel(ops.optimizer(&config).await?))?;
    }
    if settings.parts.contains(&Part::Step) {
        let mut steps = step::Steps::new(model, peft, &config, settings.steps, peak.gflops)?;
        let mut profiles = Vec::new();
        for &tokens in &settings.tokens {
            let (step, cost, profile) = steps.measure(tokens).await?;
            let step_per_forward = step.timing.ms / cost.timing.ms;
            tell(Measurement::Step(step))?;
            tell(Measurement::Forward { cost, step_per_forward })?;
            profiles.push(profile);
        }
        for profile in profiles {
            tell(Measurement::Profile(profile))?;
        }
    }
    if settings.parts.contains(&Part::Decode) {
        for slots in [1, 8] {
            let (cost, kernels) = decode::measure(model, slots).await?;
            tell(Measurement::Decode(cost))?;
            tell(Measurement::Profile(Profile::new("decode", slots, kernels)))?;
        }
    }
    Ok(())
}

fn check(model: &Model, tokens: usize) -> Result<()> {
    let positions = model.config.context_length;
    let what = if tokens == 0 || !tokens.is_multiple_of(ROUND) {
        format!("{tokens} rows: batches have a multiple of {ROUND}")
    } else if tokens > positions {
        format!("{tokens} rows, and the model has {positions} positions")
    } else {
        return Ok(());
    };
    let help = format!("give multiples of {ROUND} up to {}", positions / ROUND * ROUND);
    Err(Error::Config { field: "tokens".into(), what, help })
}
