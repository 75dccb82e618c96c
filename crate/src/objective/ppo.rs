//! Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347; for language models Ziegler et al. 2019,
//! arXiv:1909.08593): each token becomes likelier by how much more it led to than a value head expected, within a range of
//! ratios to the model that wrote it, and the value head learns what came.

use super::distance::k3;
use super::grpo::{Clip, temperature};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::{Sequence, Token};
use crate::settings::config::RunConfig;

/// The loss of single answers that know the advantage and the return of each token.
pub struct Ppo {
    clip: Clip,
    vf_coef: f64,
    cliprange_value: f64,
    reference: bool,
    temperature: Option<f32>,
    max_completion_length: usize,
}

impl Ppo {
    /// As the settings say.
    pub fn new(config: &RunConfig) -> Self {
        Self {
            clip: Clip::new(config),
            vf_coef: config.vf_coef,
            cliprange_value: config.cliprange_value,
            reference: config.beta != 0.0,
            temperature: temperature(config),
            max_completion_length: config.max_completion_length as usize,
        }
    }

    /// Half the squared distance of a value from what came, or of one that moves no farther from the `old` value than it may,
    /// where that is more; its derivative by the value; and whether it is the latter.
    fn value_loss(&self, value: f64, old: f64, came: f64) -> (f64, f64, bool) {
        let clipped = value.clamp(old - self.cliprange_value, old + self.cliprange_value);
        let (free, held) = ((value - came).powi(2) / 2.0, (clipped - came).powi(2) / 2.0);
        if held > free { (held, 0.0, true) } else { (free, value - came, false) }
    }
}

impl Loss for Ppo {
    fn needs(&self) -> Needs {
        Needs {
            reference: self.reference,
            temperature: self.temperature,
            values: Some(self.max_completion_length),
            ..Needs::default()
        }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [answer] = group else { unreachable!("a single answer") };
        let (tokens, places) = (step.first_tokens.max(1) as f64, step.first_targets.max(1) as f64);
        let ratios: Vec<f64> = answer.log_ratios().into_iter().map(f64::exp).collect();
        let (mut policy, mut policy_clipped) = (0.0, 0);
        for (&ratio, &advantage) in ratios.iter().zip(&answer.rollout.advantages) {
            let (lost, slope) = self.clip.lose(ratio, advantage);
            policy += lost;
            policy_clipped += usize::from(lost > -ratio * advantage);
            slopes[0].tokens.push(slope * ratio / tokens);
        }
        let (mut value, mut value_clipped) = (0.0, 0);
        let known = answer.rollout.values.iter().zip(&answer.rollout.returns);
        for (&now, (&old, &came)) in answer.values.iter().zip(known) {
            let (lost, slope, clipped) = self.value_loss(now, old, came);
            value += lost;
            value_clipped += usize::from(clipped);
            slopes[0].values.push(self.vf_coef * slope / places);
        }
        if self.reference {
            // As GRPO tells it: of the model as it is now, and never below 0.
            let now = answer.answer().zip(&answer.rollout.reference);
            let distance = |(token, reference): (&Token, &f64)| k3(reference - f64::from(token.log_prob));
            metrics.mean_of("kl", now.map(distance).sum(), answer.len());
        }
        metrics.entropy(answer);
        metrics.mean_of("loss/policy_avg", policy, ratios.len());
        metrics.mean_of("loss/value_avg", value, answer.values.len());
        metrics.mean_of("policy/clipfrac_avg", policy_clipped as f64, ratios.len());
        metrics.mean_of("val/clipfrac_avg", value_clipped as f64, answer.values.len());
        policy / tokens + self.vf_coef * value / places
    }
}
