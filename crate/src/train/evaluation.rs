//! The loss of examples that are not learnt, one at a time.

use std::collections::VecDeque;

use super::event::ExampleLoss;
use super::pass::Pass;
use crate::Result;
use crate::data::batch::{Dataset, Layout, Size};
use crate::data::render::Rendered;
use crate::model::Model;
use crate::objective::sft;
use crate::peft::Peft;

/// Plans kept, one for each size that the examples have.
const PLANS: usize = 8;

/// Examples to evaluate, each a batch of its own.
pub(super) fn one_by_one(model: &Model, peft: Option<&dyn Peft>, examples: &[Rendered]) -> Dataset {
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: 1,
        max_length: examples.iter().map(|example| example.ids.len()).max().unwrap_or(1),
        virtual_tokens: peft.map_or(0, |peft| peft.virtual_tokens()),
        vocab_size: model.config.vocab,
    };
    Dataset::new(examples.to_vec(), layout)
}

/// Examples whose losses are measured in order.
pub struct Evaluation {
    dataset: Dataset,
    passes: VecDeque<(Size, Pass)>,
    losses: Vec<ExampleLoss>,
}

impl Evaluation {
    /// Nothing measured yet; `peft` is `None` for the base model.
    pub fn new(model: &Model, peft: Option<&dyn Peft>, examples: &[Rendered]) -> Self {
        Self { dataset: one_by_one(model, peft, examples), passes: VecDeque::new(), losses: Vec::new() }
    }

    /// Measures the next example with the same model and adapter; says whether there was one.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn next(&mut self, model: &Model, peft: Option<&dyn Peft>) -> Result<bool> {
        let index = self.losses.len();
        if index == self.dataset.examples().len() {
            return Ok(false);
        }
        let batch = self.dataset.batch(&[index]);
        let size = batch.size();
        if !self.passes.iter().any(|(known, _)| *known == size) {
            if self.passes.len() == PLANS {
                self.passes.pop_front();
            }
            self.passes.push_back((size, Pass::new(model, peft, size, None)?));
        }
        let (_, pass) = self.passes.iter().find(|(known, _)| *known == size).expect("just made");
        let targets = sft::targets(&batch, batch.target_tokens);
        model.context.turns().next().await;
        pass.run(&batch, &targets, [0, 0]);
        let nll: Vec<f32> = model.context.read(&pass.targets.nll, 0, targets.len()).await?;
        let sum: f64 = nll.iter().map(|&nll| f64::from(nll)).sum();
        self.losses.push(ExampleLoss { loss: sum / targets.len() as f64, tokens: targets.len() });
        Ok(true)
    }

    /// What was measured so far, in order.
    pub fn losses(&self) -> &[ExampleLoss] {
        &self.losses
    }
}

/// The mean loss over the tokens of examples.
pub(super) fn mean(losses: &[ExampleLoss]) -> f64 {
    let tokens: usize = losses.iter().map(|example| example.tokens).sum();
    losses.iter().map(|example| example.loss * example.tokens as f64).sum::<f64>() / tokens as f64
}

/// The loss of each example, in order; `peft` is `None` for the base model.
///
/// # Errors
/// [`crate::Error::Gpu`] when the device failed.
pub async fn evaluate(model: &Model, peft: Option<&dyn Peft>, examples: &[Rendered]) -> Result<Vec<ExampleLoss>> {
    let mut evaluation = Evaluation::new(model, peft, examples);
    while evaluation.next(model, peft).await? {}
    Ok(evaluation.losses)
}
