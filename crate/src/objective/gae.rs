//! Generalized advantage estimation (Schulman et al. 2015, arXiv:1506.02438): how much more each token led to than was
//! expected before it. TRL's formulas (version 1.12, the last that has PPO).

use serde::{Deserialize, Serialize};

use super::distance::k3;
use crate::settings::config::{KlEstimator, RunConfig};

/// What keeps a spread of 0 from dividing.
const LEAST: f64 = 1e-8;

/// What is known of an answer of n tokens. There are n values, one before each token, or one more behind the last, where the
/// answer is shorter than it may be.
pub struct Known<'a> {
    /// What it earned.
    pub score: f64,
    /// The log-probability of each token when it was written.
    pub old: &'a [f64],
    /// And under the reference; none where that does not count.
    pub reference: &'a [f64],
    /// What the answer was expected to earn from each place on.
    pub values: &'a [f64],
}

/// What an answer's tokens led to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Of each token, how much more than was expected, brought to a mean of 0 and a deviation of 1 over all tokens.
    pub advantages: Vec<f64>,
    /// What was earned from each place on: what its value should have been.
    pub returns: Vec<f64>,
}

/// How far an answer's tokens are from the reference, each by itself, in nats.
pub fn distances(config: &RunConfig, old: &[f64], reference: &[f64]) -> Vec<f64> {
    let distance = |(old, reference): (&f64, &f64)| match config.kl_estimator {
        KlEstimator::K1 => old - reference,
        KlEstimator::K3 => k3(reference - old),
    };
    old.iter().zip(reference).map(distance).collect()
}

/// The advantages and returns of answers that were written together. Every token is rewarded by `-beta` times its distance
/// from the reference, and the place behind the last by the score, or the last where there is none behind.
pub fn estimate(config: &RunConfig, answers: &[Known]) -> Vec<Estimate> {
    let mut rewards: Vec<Vec<f64>> = answers.iter().map(|answer| rewards(config, answer)).collect();
    if config.whiten_rewards {
        let (mean, scale) = whitening(&rewards);
        rewards.iter_mut().flatten().for_each(|reward| *reward = (*reward - mean) * scale + mean);
    }
    let mut estimates: Vec<Estimate> =
        answers.iter().zip(&rewards).map(|(answer, rewards)| look_back(config, answer, rewards)).collect();
    let all: Vec<Vec<f64>> = estimates.iter().map(|estimate| estimate.advantages.clone()).collect();
    let (mean, scale) = whitening(&all);
    for advantage in estimates.iter_mut().flat_map(|estimate| &mut estimate.advantages) {
        *advantage = (*advantage - mean) * scale;
    }
    estimates
}

fn rewards(config: &RunConfig, answer: &Known) -> Vec<f64> {
    let mut rewards = vec![0.0; answer.values.len()];
    for (reward, distance) in rewards.iter_mut().zip(distances(config, answer.old, answer.reference)) {
        *reward = -config.beta * distance;
    }
    if let Some(last) = rewards.last_mut() {
        *last += answer.score;
    }
    rewards
}

/// From the last place to the first, what came against what was expected.
fn look_back(config: &RunConfig, answer: &Known, rewards: &[f64]) -> Estimate {
    let values = answer.values;
    let mut advantages = vec![0.0; values.len()];
    let (mut next_value, mut advantage) = (0.0, 0.0);
    for place in (0..values.len()).rev() {
        let surprise = rewards[place] + config.gamma * next_value - values[place];
        advantage = surprise + config.gamma * config.lam * advantage;
        advantages[place] = advantage;
        next_value = values[place];
    }
    let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
    advantages.truncate(answer.old.len());
    Estimate { advantages, returns }
}

/// The mean of all, and what brings their deviation to 1.
fn whitening(all: &[Vec<f64>]) -> (f64, f64) {
    let count = all.iter().flatten().count();
    let mean = all.iter().flatten().sum::<f64>() / count.max(1) as f64;
    let squares: f64 = all.iter().flatten().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count.max(2) - 1) as f64 + LEAST).sqrt().recip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config::{Method, Objective};

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{got:?} for {want:?}");
    }

    /// By hand: of a score of 1 that was never expected, each token has lam times what the next has.
    #[test]
    fn a_score_reaches_back() {
        let mut config = RunConfig::defaults(Method::Lora, Objective::Ppo);
        (config.lam, config.beta) = (0.5, 0.0);
        let short = Known { score: 1.0, old: &[-1.0, -1.0], reference: &[], values: &[0.0, 0.0, 0.0] };
        let (rewards, found) = (rewards(&config, &short), look_back(&config, &short, &[0.0, 0.0, 1.0]));
        near(&rewards, &[0.0, 0.0, 1.0]);
        near(&found.advantages, &[0.25, 0.5]);
        near(&found.returns, &[0.25, 0.5, 1.0]);
        // As long as it may be: the last token itself is rewarded.
        let long = Known { values: &[0.5, 0.25], ..short };
        let found = look_back(&config, &long, &[0.0, 1.0]);
        // 1 - 0.25 = 0.75, and 0 + 0.25 - 0.5 + 0.5 * 0.75 = 0.125.
        near(&found.advantages, &[0.125, 0.75]);
        near(&found.returns, &[0.625, 1.0]);
    }

    #[test]
    fn whitened_over_all_tokens() {
        let mut config = RunConfig::defaults(Method::Lora, Objective::Ppo);
        config.beta = 0.5;
        let reference = [-1.5, -0.5];
        let one = Known { score: 1.0, old: &[-1.0, -1.0], reference: &reference, values: &[0.1, 0.2, 0.3] };
        let two = Known { score: -1.0, old: &[-2.0], reference: &reference[..1], values: &[0.0] };
        near(&rewards(&config, &one), &[-0.25, 0.25, 1.0]);
        for whiten_rewards in [false, true] {
            config.whiten_rewards = whiten_rewards;
            let found = estimate(&config, &[Known { ..one }, Known { ..two }]);
            let all: Vec<f64> = found.iter().flat_map(|found| found.advantages.clone()).collect();
            let mean = all.iter().sum::<f64>() / 3.0;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0;
            assert!(all.len() == 3 && mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-6, "{all:?}");
        }
        config.kl_estimator = KlEstimator::K3;
        near(&distances(&config, &[-1.0], &[-1.5]), &[(-0.5f64).exp() - 0.5]);
    }
}
