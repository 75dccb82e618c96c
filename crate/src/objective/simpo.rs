//! Simple preference optimization (Meng et al. 2024, arXiv:2405.14734): the mean log-probability of a token of the chosen
//! answer is to be higher than that of the rejected one, by a margin. There is no reference.

use super::cpo::{logistic, pair};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// The loss of pairs.
pub struct SimPo {
    beta: f64,
    label_smoothing: f64,
    cpo_alpha: f64,
    simpo_gamma: f64,
}

impl SimPo {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        let RunConfig { beta, label_smoothing, cpo_alpha, simpo_gamma, .. } = *config;
        Self { beta, label_smoothing, cpo_alpha, simpo_gamma }
    }
}

impl Loss for SimPo {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let compared = |difference| {
            let (loss, slope) = logistic(self.beta * difference - self.simpo_gamma, self.label_smoothing);
            (loss, self.beta * slope)
        };
        pair(group, true, self.beta, self.cpo_alpha, compared, step, slopes, metrics)
    }
}
