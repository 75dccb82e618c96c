//! Heads that make one number of the last hidden state: one weight for each channel, trained whole beside any method. The
//! score head of a reward model is in PEFT's words the module `score` of a sequence classifier, one of `modules_to_save`. The
//! value head of PPO says at each token what an answer will earn; it is of use to the run alone, and no adapter has it.

use super::Parameters;
use super::parameters::Spec;
use crate::Result;
use crate::model::{Model, normal};
use crate::ops::Weight;
use crate::settings::config::{Method, Objective, RunConfig};

/// The end of a score head's name in the adapter's file.
const SCORE: &str = ".score.weight";
/// The end of a value head's name in a checkpoint.
const VALUE: &str = ".value.weight";

/// The standard deviation of a score head at first: that of transformers' `initializer_range`.
const SPREAD: f64 = 0.02;

/// The parameters of a method, and behind them the head that the run's objective has. A value head starts as 0: it expects
/// nothing.
///
/// # Errors
/// As [`Parameters::new`].
pub fn parameters(model: &Model, config: &RunConfig, mut specs: Vec<Spec>) -> Result<Parameters> {
    let end = match config.objective {
        Objective::Reward => Some(SCORE),
        Objective::Ppo => Some(VALUE),
        _ => None,
    };
    if let Some(end) = end {
        let hidden = model.config.hidden;
        let prefix = match config.method {
            // PEFT puts these beside the model, and all others around it.
            Method::Prompt | Method::PTuning | Method::Prefix | Method::PTuningV2 => "base_model",
            _ => "base_model.model",
        };
        let name = format!("{prefix}{end}");
        let shape = [1, hidden];
        specs.push(if end == SCORE {
            let values = normal(config.seed, &name).map(|x| (SPREAD * x) as f32).take(hidden).collect();
            Spec::new(name, &shape, values)
        } else {
            Spec::zeros(name, &shape)
        });
    }
    Parameters::new(&model.context, specs)
}

impl Parameters {
    /// The score head `[1, C]`, of a reward model.
    pub fn score(&self) -> Option<&Weight> {
        self.tensors.iter().find(|tensor| is_score(&tensor.name)).map(|tensor| &tensor.weight)
    }

    /// The value head `[1, C]`, of a run that has one.
    pub fn value(&self) -> Option<&Weight> {
        self.tensors.iter().find(|tensor| is_value(&tensor.name)).map(|tensor| &tensor.weight)
    }
}

/// Whether a tensor of this name is the score head.
pub fn is_score(name: &str) -> bool {
    name.ends_with(SCORE)
}

/// Whether a tensor of this name is the value head, which an adapter's file leaves out.
pub fn is_value(name: &str) -> bool {
    name.ends_with(VALUE)
}

/// The token that a score looks past at the end of a text, as transformers does: the one that pads, which often is the one
/// that ends a text, too. With virtual tokens before the text PEFT hands embeddings over, and no token is known.
pub fn pad(model: &Model, method: Method) -> Option<u32> {
    let tokens_are_known = !matches!(method, Method::Prompt | Method::PTuning);
    model.tokenizer.pad().or(model.tokenizer.eos()).filter(|_| tokens_are_known)
}
