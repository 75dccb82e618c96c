//! Trials: several methods on the same examples for the same number of steps, and what each costs and gives.

use std::rc::Rc;

use serde::Serialize;

use super::config::{LOAD_IN_4BIT, Method, RunConfig};
use super::estimate::estimate;
use super::trainer::{Trainer, evaluate};
use crate::Result;
use crate::clock::now_ms;
use crate::data::render::Rendered;
use crate::generate::{Generator, Sampling};
use crate::model::Model;
use crate::peft::{self, Peft, io};
use crate::train::{Event, ExampleLoss};

/// One of this many examples is held out where none are given apart.
const SHARE: usize = 5;

/// Tokens that an answer may be longer than the one expected.
const LONGER: usize = 8;

/// What one method came to.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The method, by the name it was asked for.
    pub method: String,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Trainable parameters.
    pub trainable: usize,
    /// Bytes of the adapter's tensors as a file.
    pub file_bytes: usize,
    /// Seconds of training, evaluations not counted.
    pub seconds: f64,
    /// Bytes on the device that the run needs at a time: model, adapter, optimizer and activations.
    pub peak_bytes: u64,
    /// Loss on the held-out examples before, in nats a token: that of the base model.
    pub loss_before: f64,
    /// The same after.
    pub loss_after: f64,
    /// Held-out answers that came out word for word, of all that could be asked for.
    pub exact: usize,
    /// See `exact`.
    pub answers: usize,
}

/// Examples to learn, and every fifth to hold out.
pub fn split(examples: Vec<Rendered>) -> (Vec<Rendered>, Vec<Rendered>) {
    let (mut learnt, mut held_out) = (Vec::new(), Vec::new());
    for (index, example) in examples.into_iter().enumerate() {
        if index % SHARE == SHARE - 1 { held_out.push(example) } else { learnt.push(example) }
    }
    (learnt, held_out)
}

/// The names that a lab tries where none are given: every method, and LoRA with each of its switches, on one model; what
/// says how to load it is not among them.
pub fn names(load_in_4bit: bool) -> Vec<&'static str> {
    let methods = Method::ALL.iter().filter(|&&method| !(load_in_4bit && method == Method::Full));
    let switches = RunConfig::switches().into_iter().filter(|&(_, switch)| switch != LOAD_IN_4BIT);
    methods.map(|method| method.name()).chain(switches.map(|(name, _)| name)).collect()
}

/// The mean over the tokens.
fn mean(losses: &[ExampleLoss]) -> f64 {
    let tokens: usize = losses.iter().map(|example| example.tokens).sum();
    losses.iter().map(|example| example.loss * example.tokens as f64).sum::<f64>() / tokens as f64
}

/// Trains one method and measures it. `tell` is given the steps done and those in all.
///
/// # Errors
/// As [`peft::create`] and [`Trainer::step`].
pub async fn trial(
    model: &Rc<Model>,
    method: &str,
    config: &RunConfig,
    examples: &[Rendered],
    held_out: &[Rendered],
    mut tell: impl FnMut(usize, usize),
) -> Result<Trial> {
    let loss_before = mean(&evaluate(model, None, held_out).await?);
    let adapter: Rc<dyn Peft> = peft::create(model, config).await?.into();
    let mut trainer = Trainer::new(model.clone(), adapter.clone(), config, examples.to_vec(), Vec::new())?;
    trainer.tune(|_, _| ()).await?;
    let steps = usize::try_from(trainer.config().max_steps).unwrap_or_default();
    let started = now_ms();
    while !trainer.is_done() {
        trainer.step().await?;
        tell(trainer.steps_done(), steps);
    }
    let last = trainer.flush().await?;
    debug_assert!(last.iter().all(|event| !matches!(event, Event::Done { .. })));
    let seconds = (now_ms() - started) / 1e3;
    let run = trainer.config().clone();
    drop(trainer);
    let loss_after = mean(&evaluate(model, Some(adapter.as_ref()), held_out).await?);
    let (exact, answers) = exact_answers(model, adapter.as_ref(), held_out).await?;
    let files = io::save(adapter.as_ref(), model, None).await?;
    let file_bytes = files.iter().find(|file| file.name == io::TENSORS).map_or(0, |file| file.bytes.len());
    let estimates = estimate(model, &run, examples, &[]).await?;
    let peak = estimates.iter().find(|estimate| estimate.recompute == run.recompute);
    Ok(Trial {
        method: method.into(),
        learning_rate: run.learning_rate,
        trainable: adapter.params().count(),
        file_bytes,
        seconds,
        peak_bytes: peak.map_or(0, |estimate| estimate.total),
        loss_before,
        loss_after,
        exact,
        answers,
    })
}

/// How many of the examples' last answers the model gives word for word, and how many there are.
async fn exact_answers(model: &Model, adapter: &dyn Peft, examples: &[Rendered]) -> Result<(usize, usize)> {
    let (mut exact, mut answers) = (0, 0);
    for example in examples {
        let end = example.targets.iter().rposition(|&target| target).map_or(0, |last| last + 1);
        let first = example.targets[..end].iter().rposition(|&target| !target).map_or(0, |last| last + 1);
        if first == 0 || first == end {
            // Plain text asks nothing.
            continue;
        }
        let ends = model.tokenizer.end_ids();
        let answer = &example.ids[first..end];
        let answer = answer.split(|id| ends.contains(id)).next().unwrap_or_default();
        let sampling = Sampling { max_new_tokens: answer.len() + LONGER, ..Default::default() };
        let positions = adapter.virtual_tokens() + first + sampling.max_new_tokens;
        let generator = Generator::new(model, Some(adapter), positions)?;
        let given = generator.generate(&example.ids[..first], sampling, |_| true).await?;
        exact += usize::from(given.text.trim() == model.tokenizer.decode(answer).trim());
        answers += 1;
    }
    Ok((exact, answers))
}
