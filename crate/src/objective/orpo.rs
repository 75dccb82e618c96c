//! Odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691): the model learns to write the chosen answer with
//! its prompt, and to have higher odds for the chosen answer than for the rejected one. There is no reference.

use super::logistic::{log_sigmoid, sigmoid};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// The loss of pairs.
pub struct Orpo {
    beta: f64,
}

impl Orpo {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        Self { beta: config.beta }
    }
}

/// log(1 - e^x), for x below 0.
fn log_one_minus_exp(x: f64) -> f64 {
    if x < -std::f64::consts::LN_2 { (-x.exp()).ln_1p() } else { (-x.exp_m1()).ln() }
}

impl Loss for Orpo {
    fn needs(&self) -> Needs {
        Needs { prompt: true, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [chosen, rejected] = group else { unreachable!("a pair") };
        let (pairs, targets) = (step.groups as f64, step.first_targets as f64);
        let [good, bad] = [chosen, rejected].map(Sequence::mean_log_prob);
        let log_odds = (good - bad) - (log_one_minus_exp(good) - log_one_minus_exp(bad));
        // d/dm of m - log(1 - e^m) is 1 / (1 - e^m).
        let slope = -self.beta * sigmoid(-log_odds) / pairs;
        slopes[0].answer = slope / -good.exp_m1() / chosen.len() as f64;
        slopes[1].answer = -slope / -bad.exp_m1() / rejected.len() as f64;
        slopes[0].target = -1.0 / targets;
        metrics.rewards(self.beta * good, self.beta * bad);
        metrics.answer(true, chosen, good);
        metrics.answer(false, rejected, bad);
        metrics.mean_of("nll_loss", chosen.nll(), chosen.tokens.len());
        metrics.mean("log_odds_ratio", log_sigmoid(log_odds));
        metrics.mean("log_odds_chosen", log_odds);
        chosen.nll() / targets - self.beta * log_sigmoid(log_odds) / pairs
    }
}
