//! What a model makes of a sequence.

/// What the model makes of one target: a token that it must predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// Its log-probability, in nats.
    pub log_prob: f32,
    /// The entropy of the distribution that it is drawn from, in nats.
    pub entropy: f32,
    /// The mean of the logits over the vocabulary.
    pub mean_logit: f32,
    /// Whether it is the likeliest.
    pub likeliest: bool,
    /// Whether it belongs to the answer; what else is a target belongs to the prompt.
    pub answer: bool,
}

/// What the model makes of one sequence, and what the data says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequence {
    /// Its targets, in order; none under a score head.
    pub tokens: Vec<Token>,
    /// The sum of the answer's log-probabilities under the reference, where the loss needs one.
    pub reference: f64,
    /// Its score, under a score head.
    pub score: f64,
    /// The value at each target, under a value head.
    pub values: Vec<f64>,
    /// Whether the answer was found good, of a single answer.
    pub label: bool,
    /// By how much the chosen answer's score is to be the higher one, of a pair.
    pub margin: f64,
    /// What is known of an answer that the model wrote itself.
    pub rollout: Rollout,
}

/// What is known of an answer that the model wrote itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rollout {
    /// How much more it earned than others.
    pub advantage: f64,
    /// How much more each token led to than was expected, where the loss has values.
    pub advantages: Vec<f64>,
    /// The value at each target when the answer was written, then.
    pub values: Vec<f64>,
    /// What was earned from each target on, then.
    pub returns: Vec<f64>,
    /// Each token's log-probability under the model as it was when the answer was written; none where it is that still.
    pub old: Vec<f64>,
    /// Each token's log-probability under the reference, where the loss needs one.
    pub reference: Vec<f64>,
}

impl Sequence {
    pub(super) fn answer(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.answer)
    }

    /// Tokens of the answer.
    pub fn len(&self) -> usize {
        self.answer().count()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The log-probability of each token of the answer.
    pub fn log_probs(&self) -> Vec<f64> {
        self.answer().map(|token| f64::from(token.log_prob)).collect()
    }

    /// The sum of the answer's log-probabilities.
    pub fn log_prob(&self) -> f64 {
        self.answer().map(|token| f64::from(token.log_prob)).sum()
    }

    /// The mean of the answer's log-probabilities.
    pub fn mean_log_prob(&self) -> f64 {
        self.log_prob() / self.len() as f64
    }

    /// The sum of all targets' negative log-likelihoods.
    pub(super) fn nll(&self) -> f64 {
        -self.tokens.iter().map(|token| f64::from(token.log_prob)).sum::<f64>()
    }

    /// The log-ratio of each token of the answer between the model and what it was when the answer was written.
    pub(super) fn log_ratios(&self) -> Vec<f64> {
        match self.rollout.old.is_empty() {
            true => vec![0.0; self.len()],
            false => self.answer().zip(&self.rollout.old).map(|(token, old)| f64::from(token.log_prob) - old).collect(),
        }
    }

    /// The log-ratio of the answer between the model and the reference.
    pub(super) fn log_ratio(&self) -> f64 {
        self.log_prob() - self.reference
    }
}
