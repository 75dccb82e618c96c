//! Group relative policy optimization (Shao et al. 2024, arXiv:2402.03300): of several answers to a prompt, those that
//! earned more than the others become likelier, and the others less, within a range of ratios to the model that wrote
//! them. Of the same kind are DAPO (Yu et al. 2025, arXiv:2503.14476), Dr. GRPO (Liu et al. 2025, arXiv:2503.20783) and, with
//! ratios of whole answers, GSPO (Zheng et al. 2025, arXiv:2507.18071).

use super::distance::k3;
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::{ImportanceSampling, RunConfig};

/// What the loss is a mean of.
#[derive(Debug, Clone, Copy)]
pub enum Mean {
    /// The tokens of all answers that were written together.
    Written,
    /// The answers, each the mean of its tokens.
    Answers,
    /// The tokens of the step.
    Tokens,
    /// Tokens, of answers that are all as long as they may be.
    Longest,
}

/// The loss of single answers that know their advantage.
pub struct Grpo {
    mean: Mean,
    sequence: bool,
    beta: f64,
    clip: Clip,
    use_bias_correction_kl: bool,
    max_completion_length: f64,
    temperature: Option<f32>,
}

impl Grpo {
    /// As the settings say.
    pub fn new(config: &RunConfig, mean: Mean) -> Self {
        Self {
            mean,
            sequence: config.importance_sampling_level == ImportanceSampling::Sequence,
            beta: config.beta,
            clip: Clip::new(config),
            use_bias_correction_kl: config.use_bias_correction_kl,
            max_completion_length: f64::from(config.max_completion_length),
            temperature: temperature(config),
        }
    }

    /// What each token of an answer of so many weighs.
    fn weight(&self, tokens: usize, step: &Step) -> f64 {
        let divisor = match self.mean {
            Mean::Written => step.rollout_tokens.max(1.0),
            Mean::Answers => step.groups as f64 * tokens.max(1) as f64,
            Mean::Tokens => step.first_tokens.max(1) as f64,
            Mean::Longest => step.groups as f64 * self.max_completion_length,
        };
        divisor.recip()
    }
}

/// The temperature that log-probabilities are taken at, where it is not 1.
pub(super) fn temperature(config: &RunConfig) -> Option<f32> {
    Some(config.temperature as f32).filter(|temperature| *temperature != 1.0)
}

/// The range of ratios within which an answer is learnt from.
pub(super) struct Clip {
    low: f64,
    high: f64,
}

impl Clip {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        let high = if config.epsilon_high == 0.0 { config.epsilon } else { config.epsilon_high };
        Self { low: 1.0 - config.epsilon, high: 1.0 + high }
    }

    /// -min(ratio A, clip(ratio) A), and its derivative by the ratio.
    pub fn lose(&self, ratio: f64, advantage: f64) -> (f64, f64) {
        let (free, clipped) = (ratio * advantage, ratio.clamp(self.low, self.high) * advantage);
        if free <= clipped { (-free, -advantage) } else { (-clipped, 0.0) }
    }

    /// Tells how many of an answer's ratios were clipped.
    pub fn measure(&self, ratios: &[f64], advantage: f64, metrics: &mut Metrics) {
        let count = |clipped: &dyn Fn(f64) -> bool| ratios.iter().filter(|ratio| clipped(**ratio)).count() as f64;
        let low = count(&|ratio| ratio < self.low && advantage < 0.0);
        let high = count(&|ratio| ratio > self.high && advantage > 0.0);
        for (name, sum) in
            [("clip_ratio/low_mean", low), ("clip_ratio/high_mean", high), ("clip_ratio/region_mean", low + high)]
        {
            metrics.mean_of(name, sum, ratios.len());
        }
        // Of each answer's share, the least and the most.
        metrics.least("clip_ratio/low_min", low / ratios.len() as f64);
        metrics.most("clip_ratio/high_max", high / ratios.len() as f64);
    }
}

impl Loss for Grpo {
    fn needs(&self) -> Needs {
        Needs { reference: self.beta != 0.0, temperature: self.temperature, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [answer] = group else { unreachable!("a single answer") };
        let tokens = answer.len();
        if tokens == 0 {
            return 0.0;
        }
        let logs = answer.log_ratios();
        let mean = logs.iter().sum::<f64>() / tokens as f64;
        let ratios: Vec<f64> =
            if self.sequence { vec![mean.exp(); tokens] } else { logs.iter().map(|log| log.exp()).collect() };
        let weight = self.weight(tokens, step);
        let advantage = answer.rollout.advantage;
        let mut loss = 0.0;
        // By each ratio, and by each log-probability where the ratio stays.
        let (mut by_ratio, mut beside) = (Vec::with_capacity(tokens), vec![0.0; tokens]);
        for &ratio in &ratios {
            let (lost, slope) = self.clip.lose(ratio, advantage);
            loss += lost;
            by_ratio.push(slope);
        }
        if self.beta != 0.0 {
            let mut distance = 0.0;
            for (at, (token, reference)) in answer.answer().zip(&answer.rollout.reference).enumerate() {
                let d = reference - f64::from(token.log_prob);
                let (kl, slope) = (k3(d), 1.0 - d.exp());
                let ratio = if self.use_bias_correction_kl { ratios[at] } else { 1.0 };
                distance += ratio * kl;
                beside[at] = self.beta * ratio * slope;
                if self.use_bias_correction_kl {
                    by_ratio[at] += self.beta * kl;
                }
            }
            loss += self.beta * distance;
            metrics.mean_of("kl", distance, tokens);
        }
        // A ratio's derivative by its logarithm is itself, and the logarithm of an answer's is a mean.
        let shared = by_ratio.iter().zip(&ratios).map(|(slope, ratio)| slope * ratio).sum::<f64>() / tokens as f64;
        let own = |at: usize| if self.sequence { shared } else { by_ratio[at] * ratios[at] };
        slopes[0].tokens = (0..tokens).map(|at| weight * (own(at) + beside[at])).collect();
        metrics.entropy(answer);
        self.clip.measure(if self.sequence { &ratios[..1] } else { &ratios }, advantage, metrics);
        weight * loss
    }
}
