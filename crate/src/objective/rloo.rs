//! REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv:2402.14740): an answer becomes likelier by how much more it earned
//! than the mean of the others to its prompt. The distance from the reference is taken off what it earns.

use super::grpo::{Clip, temperature};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// The loss of single answers that know their advantage.
pub struct Rloo {
    clip: Clip,
    reference: bool,
    temperature: Option<f32>,
}

impl Rloo {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        Self { clip: Clip::new(config), reference: config.beta != 0.0, temperature: temperature(config) }
    }
}

impl Loss for Rloo {
    fn needs(&self) -> Needs {
        Needs { reference: self.reference, temperature: self.temperature, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [answer] = group else { unreachable!("a single answer") };
        // The ratio of the whole answer, whose logarithm is a sum.
        let ratio = answer.log_ratios().iter().sum::<f64>().exp();
        let (loss, slope) = self.clip.lose(ratio, answer.rollout.advantage);
        slopes[0].answer = slope * ratio / step.groups as f64;
        metrics.entropy(answer);
        self.clip.measure(&[ratio], answer.rollout.advantage, metrics);
        loss / step.groups as f64
    }
}
