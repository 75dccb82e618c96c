//! Forward passes that say what a model makes of sequences: their log-probabilities, or their scores.

use std::collections::VecDeque;

use super::pass::Pass;
use crate::Result;
use crate::data::batch::{Asked, Batch, Dataset, Layout, NO_LABEL, Size};
use crate::data::render::Rendered;
use crate::model::Model;
use crate::objective::{Needs, Sequence, Slope, Token};
use crate::ops::{Found, Targets};
use crate::peft::{Peft, score};
use crate::settings::config::Method;

/// Plans kept, one for each size of a batch.
const PLANS: usize = 8;

/// Which rows are asked where a loss needs this, with a tuning method.
pub(super) fn asked(model: &Model, needs: Needs, method: Method) -> Asked {
    match needs {
        Needs { score: true, .. } => Asked::Score { pad: score::pad(model, method) },
        Needs { prompt: true, .. } => Asked::Prompts,
        Needs { values: Some(longest), .. } => Asked::Values { longest },
        _ => Asked::Targets,
    }
}

/// Targets with the head that a loss needs.
///
/// # Errors
/// As [`Model::targets`].
pub(super) fn targets(model: &Model, capacity: usize, needs: Needs) -> Result<Targets> {
    let targets = model.targets(&model.context, capacity)?;
    let targets = match needs {
        Needs { score: true, .. } => targets.scored(&model.context),
        Needs { values: Some(_), .. } => targets.valued(&model.context),
        _ => targets.measured(&model.context),
    }?;
    match needs.temperature {
        Some(temperature) => targets.at_temperature(&model.context, model.config.hidden, temperature),
        None => Ok(targets),
    }
}

/// The targets of a batch as a plan takes them, of weights that are to be found.
pub(super) fn unweighted(batch: &Batch) -> Vec<(u32, u32, f32)> {
    let rows = batch.labels.iter().enumerate().filter(|(_, label)| **label != NO_LABEL);
    rows.map(|(row, &label)| (row as u32, label, 0.0)).collect()
}

/// What a pass made of a batch, by sequence: `made` as [`Pass::made`] gives it, `examples` those of the batch in order.
pub(super) fn sequences(
    batch: &Batch,
    examples: &[&Rendered],
    needs: Needs,
    (made, values): &(Vec<f32>, Vec<f32>),
) -> Vec<Sequence> {
    let mut made = made.chunks(if needs.score { 1 } else { 4 });
    let mut values = values.iter();
    let mut start = 0;
    let mut sequences = Vec::with_capacity(examples.len());
    for example in examples {
        let end = batch.segment_end[start] as usize;
        let virtual_tokens = end - start - example.ids.len();
        let mut sequence =
            Sequence { label: example.label.unwrap_or_default(), margin: example.margin, ..Sequence::default() };
        for row in (start..end).filter(|&row| batch.labels[row] != NO_LABEL) {
            sequence.values.extend(values.next().map(|value| f64::from(*value)));
            match made.next() {
                Some(&[score]) => sequence.score = f64::from(score),
                Some(&[log_prob, entropy, mean_logit, likeliest]) => sequence.tokens.push(Token {
                    log_prob,
                    entropy,
                    mean_logit,
                    likeliest: likeliest != 0.0,
                    // The row predicts the token behind it; behind the last there is none.
                    answer: example.targets.get(row + 1 - start - virtual_tokens).copied().unwrap_or_default(),
                }),
                _ => unreachable!("a pass makes something of each target"),
            }
        }
        start = end;
        sequences.push(sequence);
    }
    sequences
}

/// What the second part of a pass needs.
pub(super) fn found(sequences: &[Sequence], slopes: &[Slope], needs: Needs) -> Found {
    let mut found = Found::default();
    for (sequence, slope) in sequences.iter().zip(slopes) {
        if needs.score {
            found.grads.push(slope.score as f32);
            continue;
        }
        if needs.values.is_some() {
            let slopes = slope.values.iter().copied().chain(std::iter::repeat(0.0));
            found.grads.extend(slopes.take(sequence.values.len()).map(|slope| slope as f32));
        }
        let mut by_token = slope.tokens.iter();
        // A loss falls as its log-probability rises, and the loss head weighs losses.
        found.weights.extend(sequence.tokens.iter().map(|token| {
            let own = if token.answer { slope.answer + by_token.next().copied().unwrap_or_default() } else { 0.0 };
            -(slope.target + own) as f32
        }));
    }
    found
}

/// Measures sequences with one model and one adapter, or none.
pub(super) struct Measurer {
    needs: Needs,
    asked: Asked,
    passes: VecDeque<(Size, Pass)>,
}

impl Measurer {
    /// One that measures what a loss needs.
    pub fn new(needs: Needs, asked: Asked) -> Self {
        Self { needs, asked, passes: VecDeque::new() }
    }

    /// One that measures the same, of another adapter.
    pub fn anew(&self) -> Self {
        Self::new(self.needs, self.asked)
    }

    /// Some groups of sequences as a batch for this adapter.
    pub fn batch(&self, model: &Model, peft: Option<&dyn Peft>, examples: &[&Rendered], group: usize) -> Batch {
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 1,
            max_length: examples.iter().map(|example| example.ids.len()).max().unwrap_or(1),
            virtual_tokens: peft.map_or(0, |peft| peft.virtual_tokens()),
            vocab_size: model.config.vocab,
        };
        let copies = examples.iter().map(|&example| example.clone()).collect();
        let dataset = Dataset::grouped(copies, layout, group, self.asked);
        dataset.batch(&(0..dataset.groups()).collect::<Vec<_>>())
    }

    /// Prepares for batches of this size.
    ///
    /// # Errors
    /// As [`Pass::forward`].
    pub fn prepare(&mut self, model: &Model, peft: Option<&dyn Peft>, size: Size) -> Result<()> {
        if let Some(index) = self.passes.iter().position(|(known, _)| *known == size) {
            let pass = self.passes.remove(index).expect("the index was just found");
            self.passes.push_back(pass);
            return Ok(());
        }
        if self.passes.len() == PLANS {
            self.passes.pop_front();
        }
        let targets = targets(model, size.targets, self.needs)?;
        self.passes.push_back((size, Pass::forward(model, peft, size.rows, targets)?));
        Ok(())
    }

    /// What the model makes of some groups of sequences, which share one batch. The adapter is the same each time.
    ///
    /// # Errors
    /// As [`Pass::forward`], and [`crate::Error::Gpu`] when the device failed.
    pub async fn measure(
        &mut self,
        model: &Model,
        peft: Option<&dyn Peft>,
        examples: &[&Rendered],
        group: usize,
    ) -> Result<Vec<Sequence>> {
        let batch = self.batch(model, peft, examples, group);
        self.prepare(model, peft, batch.size())?;
        let (_, pass) = self.passes.back().expect("just prepared");
        let targets = unweighted(&batch);
        model.context.turns().next().await;
        pass.run(&batch, &targets, [0, 0]);
        let made = pass.made(targets.len()).await?;
        Ok(sequences(&batch, examples, self.needs, &made))
    }
}
