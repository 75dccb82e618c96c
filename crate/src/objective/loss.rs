//! What a loss is told of a step, and what it answers.

use super::metrics::Metrics;
use super::sequence::Sequence;

/// What the groups of a step have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// How many groups there are.
    pub groups: usize,
    /// Targets of the groups' first sequences.
    pub first_targets: usize,
    /// Tokens of the answers of the groups' first sequences.
    pub first_tokens: usize,
    /// How far the model is from the reference on answers to other prompts, where the loss needs to know: see
    /// [`Needs::baseline`].
    pub baseline: f64,
    /// A step's share of the tokens of all answers that were written together.
    pub rollout_tokens: f64,
}

/// The derivatives of a loss by what the model makes of a sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slope {
    /// By each log-probability of the answer.
    pub answer: f64,
    /// By the log-probability of each token of the answer by itself, beside that; none for 0.
    pub tokens: Vec<f64>,
    /// By each target's log-probability, beside that.
    pub target: f64,
    /// By the score.
    pub score: f64,
    /// By the value of each target; none for 0.
    pub values: Vec<f64>,
}

/// What a loss needs beside the log-probabilities of the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Needs {
    /// The log-probabilities of a reference: the model as it was before the run.
    pub reference: bool,
    /// The prompt of each group's first sequence as targets.
    pub prompt: bool,
    /// The answers of a step once more, each behind the prompt of the next: what the model and the reference make of
    /// those is the baseline. TRL takes the rows of a micro-batch, and here it is those of the whole step, so that it does
    /// not depend on how the step is split.
    pub baseline: bool,
    /// Scores in place of log-probabilities.
    pub score: bool,
    /// Beside the log-probabilities a value before each token of an answer: what the answer is expected to earn from there
    /// on. And one behind the last, where the answer has fewer tokens than this.
    pub values: Option<usize>,
    /// What logits are divided by before log-probabilities are taken of them: the temperature that answers are written
    /// at, where it is not 1.
    pub temperature: Option<f32>,
}

/// An objective that is told what the model makes of the sequences. TRL's formulas and names (version 1.16); where TRL
/// takes a mean over each micro-batch and then over those, a mean here is over the whole step.
pub trait Loss {
    /// What it needs to be told.
    fn needs(&self) -> Needs;

    /// The part of the step's loss that one group makes, and its slope at each of the sequences, into `slopes`.
    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64;

    /// Adds the metrics that follow from those of all groups.
    fn finish(&self, _step: &Step, _metrics: &mut Metrics) {}
}
