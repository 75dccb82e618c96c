//! The score head of a reward model: one weight for each channel of the last hidden state, trained whole beside any method.
//! In PEFT's words it is the module `score` of a sequence classifier, one of `modules_to_save`.

use super::Parameters;
use super::parameters::Spec;
use super::random::random;
use crate::Result;
use crate::model::Model;
use crate::ops::Weight;
use crate::settings::config::{Method, Objective, RunConfig};

/// The end of its name in the adapter's file.
const NAME: &str = ".score.weight";

/// Its standard deviation at first: that of transformers' `initializer_range`.
const SPREAD: f64 = 0.02;

/// The parameters of a method, and behind them the score head where the run makes a reward model.
///
/// # Errors
/// As [`Parameters::new`].
pub fn parameters(model: &Model, config: &RunConfig, mut specs: Vec<Spec>) -> Result<Parameters> {
    if config.objective == Objective::Reward {
        let hidden = model.config.hidden;
        let prefix = match config.method {
            // PEFT puts these beside the model, and all others around it.
            Method::Prompt | Method::PTuning | Method::Prefix | Method::PTuningV2 => "base_model",
            _ => "base_model.model",
        };
        let name = format!("{prefix}{NAME}");
        let values = normal(config.seed, &name).map(|x| (SPREAD * x) as f32).take(hidden).collect();
        specs.push(Spec::new(name, &[1, hidden], values));
    }
    Parameters::new(&model.context, specs)
}

impl Parameters {
    /// The score head `[1, C]`, of a reward model.
    pub fn score(&self) -> Option<&Weight> {
        self.tensors.iter().find(|tensor| is_score(&tensor.name)).map(|tensor| &tensor.weight)
    }
}

/// Whether a tensor of this name is the score head.
pub fn is_score(name: &str) -> bool {
    name.ends_with(NAME)
}

/// The token that a score looks past at the end of a text, as transformers does: the one that pads, which often is the one
/// that ends a text, too. With virtual tokens before the text PEFT hands embeddings over, and no token is known.
pub fn pad(model: &Model, method: Method) -> Option<u32> {
    let tokens_are_known = !matches!(method, Method::Prompt | Method::PTuning);
    model.tokenizer.pad().or(model.tokenizer.eos()).filter(|_| tokens_are_known)
}

/// Numbers of the standard normal distribution (Box and Muller 1958).
fn normal(seed: u32, name: &str) -> impl Iterator<Item = f64> + use<> {
    let [radii, angles] = ["radius", "angle"].map(|what| random(seed, &format!("{name}.{what}")).map(f64::from));
    radii.zip(angles).map(|(radius, angle)| {
        // From [-1, 1) to (0, 1].
        let radius = (1.0 - radius) / 2.0;
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::PI * angle).cos()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal() {
        let numbers: Vec<f64> = normal(42, "head").take(20_000).collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        let beyond = numbers.iter().filter(|x| x.abs() > 2.0).count();
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean}, {variance}");
        assert!((800..1020).contains(&beyond), "{beyond} of 20,000 lie beyond two standard deviations");
    }
}
