//! What a run reports: one enum, serialised as it is to the command line's JSON lines and to the page.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// One line of the event stream.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
// The large one comes once a run.
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// The run begins.
    Start {
        /// Name, architecture and sizes.
        model: Value,
        /// The tuning method: the adapter's own config.
        method: Value,
        /// The device.
        device: Value,
        /// Number of trainable parameters.
        trainable: usize,
        /// The resolved run config; `max_steps` is the number of steps there will be.
        config: Value,
    },
    /// `logging_steps` optimizer steps are done, or the last.
    Step {
        /// From 1.
        step: usize,
        /// The objective's loss before the update, in supervised training nats per target token: the mean of the steps since
        /// the last report. All else is the last step's.
        loss: f64,
        /// The step's learning rate.
        learning_rate: f64,
        /// Global norm of the gradient before clipping; null when it was not finite.
        grad_norm: Option<f64>,
        /// Tokens worked on, padding not counted.
        tokens: usize,
        /// Tokens learnt.
        target_tokens: usize,
        /// Wall-clock milliseconds.
        ms: f64,
        /// What the objective measures, under TRL's names; nothing in supervised training.
        #[serde(skip_serializing_if = "Map::is_empty")]
        metrics: Map<String, Value>,
    },
    /// The held-out examples were evaluated.
    Eval {
        /// Steps done.
        step: usize,
        /// The objective's loss: in supervised training nats per target token. Null in reinforcement, where the metrics
        /// say what answers earn.
        loss: Option<f64>,
        /// Target tokens, or those that were written.
        tokens: usize,
        /// Whether it is the best so far, where a run looks for the best.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        best: bool,
        /// The loss of each example, or of each group that is compared, by itself, in file order.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        examples: Vec<ExampleLoss>,
        /// What the objective measures, as for a step.
        #[serde(skip_serializing_if = "Map::is_empty")]
        metrics: Map<String, Value>,
    },
    /// The model wrote an answer that is to be learnt from.
    Rollout {
        /// The step that first learns from it, from 1.
        step: usize,
        /// What was asked.
        prompt: String,
        /// What it wrote.
        completion: String,
        /// What that earned, by reward; null where a reward had nothing to say.
        rewards: Map<String, Value>,
        /// How much more than others, as the objective has it.
        advantage: f64,
        /// Tokens of the answer.
        tokens: usize,
    },
    /// The model answered one of the questions that it is asked along the way.
    Sample {
        /// Steps done.
        step: usize,
        /// What was asked.
        prompt: String,
        /// What it said, as far as it was listened to.
        text: String,
    },
    /// Answers were scored, in file order.
    Score {
        /// One score, or those of both answers of a pair.
        scores: Vec<Score>,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// The folder.
        path: String,
    },
    /// Something the person should know; the run goes on.
    Warning {
        /// Stable name.
        code: &'static str,
        /// In plain words.
        message: String,
    },
    /// The run ended well.
    Done {
        /// Steps done.
        steps: usize,
        /// Where the adapter is; empty in the page.
        path: String,
        /// The last step's loss.
        loss: f64,
        /// The evaluation whose adapter was kept, where that is not the last step's.
        #[serde(skip_serializing_if = "Option::is_none")]
        best: Option<BestEvaluation>,
    },
    /// The run failed.
    Error {
        /// Stable name.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// The best evaluation of a run so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestEvaluation {
    /// Steps done then.
    pub step: usize,
    /// What was measured.
    pub value: f64,
    /// Evaluations since one was better by more than the threshold.
    pub waited: usize,
}

/// What a reward adapter makes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Score {
    /// Of a single answer.
    One(f64),
    /// Of both answers of a pair.
    Pair {
        /// The chosen answer's.
        chosen: f64,
        /// The rejected one's.
        rejected: f64,
    },
}

/// The loss of one example, or of one group that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExampleLoss {
    /// Nats per target token.
    pub loss: f64,
    /// Target tokens.
    pub tokens: usize,
}

impl From<&Error> for Event {
    fn from(error: &Error) -> Self {
        Event::Error { code: error.code(), message: error.to_string(), hint: error.help() }
    }
}
