//! Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290): how much likelier an answer became than it is
//! under the reference is its reward, and the chosen one's is to be the higher. IPO (Azar et al. 2023, arXiv:2310.12036),
//! the hinge of SLiC (Zhao et al. 2023, arXiv:2305.10425) and robust DPO (Chowdhury et al. 2024, arXiv:2403.00409) are
//! other losses of the same difference.

use super::logistic::{log_sigmoid, sigmoid};
use super::loss::{Loss, Needs, Slope, Step};
use super::metrics::Metrics;
use super::sequence::Sequence;
use crate::settings::config::RunConfig;

/// How the loss is made of the difference D of the two log-ratios.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// -log s(b D).
    Sigmoid,
    /// max(0, 1 - b D).
    Hinge,
    /// (D - 1 / 2b)^2, where log-ratios are means over the answers' tokens.
    Ipo,
    /// (-(1 - e) log s(b D) + e log s(-b D)) / (1 - 2 e): of the pairs, e are the wrong way round.
    Robust,
}

/// The loss of pairs.
pub struct Dpo {
    shape: Shape,
    beta: f64,
    label_smoothing: f64,
}

impl Dpo {
    /// As the settings say.
    pub fn new(config: &RunConfig, shape: Shape) -> Self {
        Self { shape, beta: config.beta, label_smoothing: config.label_smoothing }
    }

    /// The loss of a pair whose log-ratios differ by so much, and its derivative.
    fn loss(&self, difference: f64) -> (f64, f64) {
        let (beta, e) = (self.beta, self.label_smoothing);
        let x = beta * difference;
        match self.shape {
            Shape::Sigmoid => (-log_sigmoid(x), -beta * sigmoid(-x)),
            Shape::Hinge => ((1.0 - x).max(0.0), if x < 1.0 { -beta } else { 0.0 }),
            Shape::Ipo => {
                let off = difference - 1.0 / (2.0 * beta);
                (off * off, 2.0 * off)
            }
            Shape::Robust => {
                let loss = -(1.0 - e) * log_sigmoid(x) + e * log_sigmoid(-x);
                let slope = -beta * ((1.0 - e) * sigmoid(-x) + e * sigmoid(x));
                (loss / (1.0 - 2.0 * e), slope / (1.0 - 2.0 * e))
            }
        }
    }
}

impl Loss for Dpo {
    fn needs(&self) -> Needs {
        Needs { reference: true, ..Needs::default() }
    }

    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64 {
        let [chosen, rejected] = group else { unreachable!("a pair") };
        let tokens = |answer: &Sequence| if matches!(self.shape, Shape::Ipo) { answer.len() as f64 } else { 1.0 };
        let difference = chosen.log_ratio() / tokens(chosen) - rejected.log_ratio() / tokens(rejected);
        let (loss, slope) = self.loss(difference);
        let pairs = step.groups as f64;
        slopes[0].answer = slope / tokens(chosen) / pairs;
        slopes[1].answer = -slope / tokens(rejected) / pairs;
        metrics.rewards(self.beta * chosen.log_ratio(), self.beta * rejected.log_ratio());
        metrics.answer(true, chosen, chosen.log_prob());
        metrics.answer(false, rejected, rejected.log_prob());
        metrics.entropy(chosen);
        metrics.entropy(rejected);
        let likeliest = chosen.answer().filter(|token| token.likeliest).count();
        metrics.mean_of("mean_token_accuracy", likeliest as f64, chosen.len());
        loss / pairs
    }
}
