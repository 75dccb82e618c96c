//! What a loss must be told beside what the model makes of a batch: what the reference makes of it, and the baseline of a
//! step. Both are forward passes of their own.

use std::rc::Rc;

use super::event::ExampleLoss;
use super::measure::{self, Measurer};
use crate::Result;
use crate::data::batch::{Asked, Size};
use crate::data::render::Rendered;
use crate::model::Model;
use crate::objective::{self, Loss, Metrics, Needs, Sequence, Slope, Step};
use crate::peft::Peft;
use crate::settings::config::RunConfig;

/// A loss, and what it takes to tell it all it needs.
pub struct Comparison {
    loss: Box<dyn Loss>,
    /// Sequences in a group.
    group: usize,
    asked: Asked,
    /// The adapter that the run began from; `None` is the model without one.
    reference: Option<Rc<dyn Peft>>,
    referee: Measurer,
    policy: Measurer,
    /// Of each example of the data set, the sum of its answer's log-probabilities under the reference: one number each, so
    /// all of them are kept.
    known: Vec<Option<f64>>,
}

impl Comparison {
    /// What the settings ask for, on a data set of so many examples; `None` for supervised training, which compares nothing.
    ///
    /// # Errors
    /// As [`objective::create`].
    pub fn new(model: &Model, config: &RunConfig, examples: usize) -> Result<Option<Self>> {
        let Some(loss) = objective::create(config)? else { return Ok(None) };
        let needs = loss.needs();
        let asked = |needs| measure::asked(model, needs, config.method);
        Ok(Some(Self {
            group: config.objective.group(),
            asked: asked(needs),
            reference: None,
            referee: Measurer::new(without_values(needs), asked(without_values(needs))),
            policy: Measurer::new(needs, asked(needs)),
            known: vec![None; examples],
            loss,
        }))
    }

    /// Makes an adapter the reference, in place of the model without one. It never moves.
    pub fn refer_to(&mut self, reference: Rc<dyn Peft>) {
        self.reference = Some(reference);
        self.referee = self.referee.anew();
    }

    /// Which rows it asks.
    pub(super) fn asked(&self) -> Asked {
        self.asked
    }

    /// The loss.
    pub(super) fn loss(&self) -> &dyn Loss {
        self.loss.as_ref()
    }

    /// What the reference makes of some examples of the data set: computed once an example.
    ///
    /// # Errors
    /// As [`Measurer::measure`].
    pub(super) async fn references(
        &mut self,
        model: &Model,
        numbers: &[usize],
        examples: &[&Rendered],
    ) -> Result<Vec<f64>> {
        if !self.loss.needs().reference {
            return Ok(vec![0.0; numbers.len()]);
        }
        if numbers.iter().any(|&number| self.known[number].is_none()) {
            let measured = self.referee.measure(model, self.reference.as_deref(), examples, self.group).await?;
            for (&number, sequence) in numbers.iter().zip(&measured) {
                self.known[number] = Some(sequence.log_prob());
            }
        }
        Ok(numbers.iter().filter_map(|&number| self.known[number]).collect())
    }

    /// The baseline of a step of these examples: how much likelier answers are than under the reference where they belong to
    /// other prompts, on average, and 0 at least. Each prompt gets the answer of the example before it. Examples are
    /// measured `at_once` at a time.
    ///
    /// # Errors
    /// As [`Measurer::measure`].
    pub(super) async fn baseline(
        &mut self,
        model: &Model,
        peft: Option<&dyn Peft>,
        examples: &[&Rendered],
        at_once: usize,
        max_length: usize,
    ) -> Result<f64> {
        if !self.loss.needs().baseline {
            return Ok(0.0);
        }
        let before = |index: usize| examples[(index + examples.len() - 1) % examples.len()];
        let shifted: Vec<Rendered> =
            (0..examples.len()).map(|index| before(index).behind(examples[index], max_length)).collect();
        let mut sum = 0.0;
        for rows in shifted.iter().collect::<Vec<_>>().chunks(at_once) {
            let model_says = self.policy.measure(model, peft, rows, 1).await?;
            let reference_says = self.referee.measure(model, self.reference.as_deref(), rows, 1).await?;
            let pairs = model_says.iter().zip(&reference_says);
            sum += pairs.map(|(model, reference)| model.log_prob() - reference.log_prob()).sum::<f64>();
        }
        Ok((sum / examples.len() as f64).max(0.0))
    }

    /// What the model makes of some answers.
    ///
    /// # Errors
    /// As [`Measurer::measure`].
    pub(super) async fn policy_answers(
        &mut self,
        model: &Model,
        peft: &dyn Peft,
        answers: &[&Rendered],
    ) -> Result<Vec<Sequence>> {
        self.policy.measure(model, Some(peft), answers, 1).await
    }

    /// What the reference makes of each token of some answers.
    ///
    /// # Errors
    /// As [`Measurer::measure`].
    pub(super) async fn reference_tokens(&mut self, model: &Model, answers: &[&Rendered]) -> Result<Vec<Vec<f64>>> {
        let measured = self.referee.measure(model, self.reference.as_deref(), answers, 1).await?;
        Ok(measured.iter().map(Sequence::log_probs).collect())
    }

    /// The loss of some groups, which is their part of the step's, and its slope at each of their sequences.
    pub(super) fn lose(&self, sequences: &[Sequence], step: &Step, metrics: &mut Metrics) -> (f64, Vec<Slope>) {
        let mut slopes = vec![Slope::default(); sequences.len()];
        let groups = sequences.chunks(self.group).zip(slopes.chunks_mut(self.group));
        let loss = groups.map(|(group, slopes)| self.loss.group(group, step, slopes, metrics)).sum();
        (loss, slopes)
    }

    /// Prepares for the largest of some examples, taken `at_once` groups at a time: in a rehearsal, what they will need.
    ///
    /// # Errors
    /// As [`Measurer::prepare`].
    pub(super) fn rehearse(
        &mut self,
        model: &Model,
        peft: &dyn Peft,
        examples: &[Rendered],
        at_once: usize,
    ) -> Result<()> {
        let chunks = examples.chunks(at_once * self.group).map(|chunk| chunk.iter().collect::<Vec<_>>());
        let longest = chunks.max_by_key(|chunk| chunk.iter().map(|example| example.ids.len()).sum::<usize>());
        let Some(longest) = longest else { return Ok(()) };
        let size = self.policy.batch(model, Some(peft), &longest, self.group).size();
        self.policy.prepare(model, Some(peft), size)?;
        if self.loss.needs().reference {
            let reference = self.reference.as_deref();
            let size = self.referee.batch(model, reference, &longest, self.group).size();
            self.referee.prepare(model, reference, size)?;
        }
        Ok(())
    }

    /// Prepares for batches of this size: for the model where `policy`, and for the reference where the loss needs one.
    ///
    /// # Errors
    /// As [`Measurer::prepare`].
    pub(super) fn prepare(&mut self, model: &Model, peft: &dyn Peft, size: Size, policy: bool) -> Result<()> {
        if policy {
            self.policy.prepare(model, Some(peft), size)?;
        }
        if self.loss.needs().reference {
            self.referee.prepare(model, self.reference.as_deref(), size)?;
        }
        Ok(())
    }

    /// What a model makes of groups that are not learnt: the loss, and the metrics. They are measured `at_once` groups at a
    /// time, and where the loss has a baseline, that is of so many.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] for what the device cannot hold; [`crate::Error::Gpu`] when it failed.
    pub async fn evaluate(
        &mut self,
        model: &Model,
        peft: Option<&dyn Peft>,
        examples: &[Rendered],
        at_once: usize,
    ) -> Result<Evaluated> {
        let mut measured = Vec::new();
        for (index, chunk) in examples.chunks(at_once * self.group).enumerate() {
            let rows: Vec<&Rendered> = chunk.iter().collect();
            let numbers: Vec<usize> = (index * at_once * self.group..).take(rows.len()).collect();
            let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(1);
            let baseline = self.baseline(model, peft, &rows, at_once, longest).await?;
            let mut sequences = self.policy.measure(model, peft, &rows, self.group).await?;
            let references = self.references(model, &numbers, &rows).await?;
            sequences.iter_mut().zip(references).for_each(|(sequence, reference)| sequence.reference = reference);
            measured.push((sequences, baseline));
        }
        let firsts = measured.iter().flat_map(|(sequences, _)| sequences.iter().step_by(self.group));
        let first_targets = firsts.map(|sequence| sequence.tokens.len()).sum();
        let firsts = measured.iter().flat_map(|(sequences, _)| sequences.iter().step_by(self.group));
        let first_tokens = firsts.map(Sequence::len).sum();
        let all = Step { groups: examples.len() / self.group, first_targets, first_tokens, ..Step::default() };
        let mut evaluated = Evaluated { loss: 0.0, groups: Vec::new(), metrics: Metrics::default() };
        let mut slopes = vec![Slope::default(); self.group];
        for (sequences, baseline) in &measured {
            let step = Step { baseline: *baseline, ..all };
            for group in sequences.chunks(self.group) {
                evaluated.loss += self.loss.group(group, &step, &mut slopes, &mut evaluated.metrics);
                let (first_targets, first_tokens) = (group[0].tokens.len(), group[0].len());
                let alone = Step { groups: 1, first_targets, first_tokens, ..step };
                let loss = self.loss.group(group, &alone, &mut slopes, &mut Metrics::default());
                let tokens = group.iter().map(|sequence| sequence.tokens.len().max(1)).sum();
                evaluated.groups.push(ExampleLoss { loss, tokens });
            }
            self.loss.finish(&step, &mut evaluated.metrics);
        }
        Ok(evaluated)
    }
}

/// The reference has no value head.
fn without_values(needs: Needs) -> Needs {
    Needs { values: None, ..needs }
}

/// What a model makes of groups that are not learnt.
pub struct Evaluated {
    /// The loss of all of them.
    pub loss: f64,
    /// The loss of each group by itself, and its targets.
    pub groups: Vec<ExampleLoss>,
    /// What the objective measures, over all of them.
    pub metrics: Metrics,
}
