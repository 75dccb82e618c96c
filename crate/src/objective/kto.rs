//! Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306): a good answer is to become likelier than the
//! reference has it, and a bad one less likely, each beside a baseline: how much likelier answers became that belong to
//! other prompts.

use super::logistic::sigmoid;
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// The loss of single answers.
pub struct Kto {
    beta: f64,
    desirable_weight: f64,
    undesirable_weight: f64,
}

impl Kto {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        let RunConfig { beta, desirable_weight, undesirable_weight, .. } = *config;
        Self { beta, desirable_weight, undesirable_weight }
    }
}

impl Loss for Kto {
    fn needs(&self) -> Needs {
        Needs { reference: true, baseline: true, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [answer] = group else { unreachable!("a single answer") };
        let (weight, sign) = if answer.label { (self.desirable_weight, 1.0) } else { (self.undesirable_weight, -1.0) };
        let value = sigmoid(sign * self.beta * (answer.log_ratio() - step.baseline));
        let rows = step.groups as f64;
        slopes[0].answer = -weight * sign * self.beta * value * (1.0 - value) / rows;
        let reward = if answer.label { "rewards/chosen" } else { "rewards/rejected" };
        metrics.mean(reward, self.beta * answer.log_ratio());
        metrics.answer(answer.label, answer, answer.log_prob());
        metrics.entropy(answer);
        weight * (1.0 - value) / rows
    }

    fn finish(&self, step: &Step, metrics: &mut Metrics) {
        metrics.mean("kl", step.baseline);
        if let (Some(chosen), Some(rejected)) = (metrics.get("rewards/chosen"), metrics.get("rewards/rejected")) {
            metrics.mean("rewards/margins", chosen - rejected);
        }
    }
}
