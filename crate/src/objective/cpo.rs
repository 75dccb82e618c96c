//! Contrastive preference optimization (Xu et al. 2024, arXiv:2401.08417): DPO whose reference holds all answers equally
//! likely, so that none is needed, and beside it learning to write the chosen answer.

use super::logistic::{log_sigmoid, sigmoid};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// How the loss is made of the difference x of the two log-probabilities.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// -(1 - e) log s(b x) - e log s(-b x).
    Sigmoid,
    /// max(0, 1 - b x).
    Hinge,
    /// (x - 1 / 2b)^2, where log-probabilities are means over the answers' tokens.
    Ipo,
}

/// The loss of pairs.
pub struct Cpo {
    shape: Shape,
    beta: f64,
    label_smoothing: f64,
    cpo_alpha: f64,
}

impl Cpo {
    /// As the settings say.
    pub fn new(config: &RunConfig, shape: Shape) -> Self {
        let RunConfig { beta, label_smoothing, cpo_alpha, .. } = *config;
        Self { shape, beta, label_smoothing, cpo_alpha }
    }

    /// The loss of a pair whose log-probabilities differ by so much, and its derivative.
    fn loss(&self, difference: f64) -> (f64, f64) {
        let x = self.beta * difference;
        match self.shape {
            Shape::Sigmoid => {
                let (loss, slope) = logistic(x, self.label_smoothing);
                (loss, self.beta * slope)
            }
            Shape::Hinge => ((1.0 - x).max(0.0), if x < 1.0 { -self.beta } else { 0.0 }),
            Shape::Ipo => {
                let off = difference - 1.0 / (2.0 * self.beta);
                (off * off, 2.0 * off)
            }
        }
    }
}

/// -(1 - e) log s(x) - e log s(-x), and its derivative.
pub(super) fn logistic(x: f64, e: f64) -> (f64, f64) {
    (-(1.0 - e) * log_sigmoid(x) - e * log_sigmoid(-x), e * sigmoid(x) - (1.0 - e) * sigmoid(-x))
}

/// The loss of a pair and its slopes: of `compared`, which is made of the log-probabilities of both answers, or of their
/// means over the tokens, and its derivative by the difference of the two; and `alpha` times the mean negative
/// log-likelihood of the chosen answers' tokens.
pub(super) fn pair(
    group: &[Sequence],
    means: bool,
    beta: f64,
    alpha: f64,
    compared: impl Fn(f64) -> (f64, f64),
    step: &Step,
    slopes: &mut [Slope],
    metrics: &mut Metrics,
) -> f64 {
    let [chosen, rejected] = group else { unreachable!("a pair") };
    let (pairs, targets) = (step.groups as f64, step.first_targets as f64);
    let tokens = |answer: &Sequence| if means { answer.len() as f64 } else { 1.0 };
    let [good, bad] = [chosen, rejected].map(|answer| answer.log_prob() / tokens(answer));
    let (loss, slope) = compared(good - bad);
    slopes[0].answer = slope / tokens(chosen) / pairs;
    slopes[0].target = -alpha / targets;
    slopes[1].answer = -slope / tokens(rejected) / pairs;
    metrics.rewards(beta * good, beta * bad);
    metrics.answer(true, chosen, good);
    metrics.answer(false, rejected, bad);
    // As TRL has it, 0 where it is no part of the loss.
    metrics.mean_of("nll_loss", if alpha == 0.0 { 0.0 } else { chosen.nll() }, chosen.tokens.len());
    loss / pairs + alpha * chosen.nll() / targets
}

impl Loss for Cpo {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let means = matches!(self.shape, Shape::Ipo);
        pair(group, means, self.beta, self.cpo_alpha, |difference| self.loss(difference), step, slopes, metrics)
    }
}
