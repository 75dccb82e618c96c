//! The reward model: a score for each answer, and the chosen one's is to be the higher (Bradley and Terry 1952; Ouyang et
//! al. 2022, arXiv:2203.02155).

use super::logistic::{log_sigmoid, sigmoid};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// The loss of pairs of scores.
pub struct Reward {
    center_rewards_coefficient: f64,
}

impl Reward {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        Self { center_rewards_coefficient: config.center_rewards_coefficient }
    }
}

impl Loss for Reward {
    fn needs(&self) -> Needs {
        Needs { score: true, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [chosen, rejected] = group else { unreachable!("a pair") };
        let pairs = step.groups as f64;
        let (margin, sum) = (chosen.score - rejected.score, chosen.score + rejected.score);
        let x = margin - chosen.margin;
        let centre = 2.0 * self.center_rewards_coefficient * sum;
        slopes[0].score = (centre - sigmoid(-x)) / pairs;
        slopes[1].score = (centre + sigmoid(-x)) / pairs;
        metrics.mean("accuracy", f64::from(margin > 0.0));
        metrics.mean("margin", margin);
        for score in [chosen.score, rejected.score] {
            metrics.least("min_reward", score);
            metrics.mean("mean_reward", score);
            metrics.most("max_reward", score);
        }
        (-log_sigmoid(x) + self.center_rewards_coefficient * sum * sum) / pairs
    }
}
