//! Objectives: what a step makes smaller. Supervised training says beforehand what each row weighs ([`sft`]). Every other
//! objective is a [`Loss`]: it is told what the model makes of the sequences, and says which way each log-probability, or
//! each score, is to move. The gradient of all of them is a weighted sum of the gradients of the tokens'
//! log-probabilities, which the loss head takes for any tuning method; so an objective has no kernel of its own.

mod cpo;
mod dpo;
mod kto;
mod metrics;
mod orpo;
mod reward;
pub mod sft;

pub use metrics::Metrics;

use crate::settings::config::{LossType, Objective, RunConfig};
use crate::{Error, Result};

/// What the model makes of one target: a token that it must predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// Its log-probability, in nats.
    pub log_prob: f32,
    /// The entropy of the distribution that it is drawn from, in nats.
    pub entropy: f32,
    /// The mean of the logits over the vocabulary.
    pub mean_logit: f32,
    /// Whether it is the likeliest.
    pub likeliest: bool,
    /// Whether it belongs to the answer; what else is a target belongs to the prompt.
    pub answer: bool,
}

/// What the model makes of one sequence, and what the data says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sequence {
    /// Its targets, in order; none under a score head.
    pub tokens: Vec<Token>,
    /// The sum of the answer's log-probabilities under the reference, where the loss needs one.
    pub reference: f64,
    /// Its score, under a score head.
    pub score: f64,
    /// Whether the answer was found good, of a single answer.
    pub label: bool,
    /// By how much the chosen answer's score is to be the higher one, of a pair.
    pub margin: f64,
}

impl Sequence {
    fn answer(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.answer)
    }

    /// Tokens of the answer.
    pub fn len(&self) -> usize {
        self.answer().count()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the answer's log-probabilities.
    pub fn log_prob(&self) -> f64 {
        self.answer().map(|token| f64::from(token.log_prob)).sum()
    }

    /// The mean of the answer's log-probabilities.
    pub fn mean_log_prob(&self) -> f64 {
        self.log_prob() / self.len() as f64
    }

    /// The sum of all targets' negative log-likelihoods.
    fn nll(&self) -> f64 {
        -self.tokens.iter().map(|token| f64::from(token.log_prob)).sum::<f64>()
    }

    /// The log-ratio of the answer between the model and the reference.
    fn log_ratio(&self) -> f64 {
        self.log_prob() - self.reference
    }
}

/// What the groups of a step have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// How many groups there are.
    pub groups: usize,
    /// Targets of the groups' first sequences.
    pub first_targets: usize,
    /// How far the model is from the reference on answers to other prompts, where the loss needs to know: see
    /// [`Needs::baseline`].
    pub baseline: f64,
}

/// The derivatives of a loss by what the model makes of a sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slope {
    /// By each log-probability of the answer.
    pub answer: f64,
    /// By each target's log-probability, beside that.
    pub target: f64,
    /// By the score.
    pub score: f64,
}

/// What a loss needs beside the log-probabilities of the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The log-probabilities of a reference: the model as it was before the run.
    pub reference: bool,
    /// The prompt of each group's first sequence as targets.
    pub prompt: bool,
    /// The answers of a step once more, each behind the prompt of the next: what the model and the reference make of
    /// those is the baseline. TRL takes the rows of a micro-batch, and here it is those of the whole step, so that it does
    /// not depend on how the step is split.
    pub baseline: bool,
    /// Scores in place of log-probabilities.
    pub score: bool,
}

/// An objective that is told what the model makes of the sequences. TRL's formulas and names (version 1.16); where TRL
/// takes a mean over each micro-batch and then over those, a mean here is over the whole step.
pub trait Loss {
    /// What it needs to be told.
    fn needs(&self) -> Needs;

    /// The part of the step's loss that one group makes, and its slope at each of the sequences, into `slopes`.
    fn group(&self, group: &[Sequence], step: &Step, slopes: &mut [Slope], metrics: &mut Metrics) -> f64;

    /// Adds the metrics that follow from those of all groups.
    fn finish(&self, _step: &Step, _metrics: &mut Metrics) {}
}

/// The loss that a run's settings name; `None` for supervised training, which needs none.
///
/// # Errors
/// [`Error::Config`] for a `loss_type` that the objective does not have.
pub fn create(config: &RunConfig) -> Result<Option<Box<dyn Loss>>> {
    let loss: Box<dyn Loss> = match (config.objective, config.loss_type) {
        (Objective::Sft, _) => return Ok(None),
        (Objective::Dpo, LossType::Sigmoid) => Box::new(dpo::Dpo::new(config, dpo::Shape::Sigmoid)),
        (Objective::Dpo, LossType::Hinge) => Box::new(dpo::Dpo::new(config, dpo::Shape::Hinge)),
        (Objective::Dpo, LossType::Ipo) => Box::new(dpo::Dpo::new(config, dpo::Shape::Ipo)),
        (Objective::Dpo, LossType::Robust) => Box::new(dpo::Dpo::new(config, dpo::Shape::Robust)),
        (Objective::Kto, _) => Box::new(kto::Kto::new(config)),
        (Objective::Orpo, _) => Box::new(orpo::Orpo::new(config)),
        (Objective::Cpo, LossType::Sigmoid) => Box::new(cpo::Cpo::new(config, cpo::Shape::Sigmoid)),
        (Objective::Cpo, LossType::Hinge) => Box::new(cpo::Cpo::new(config, cpo::Shape::Hinge)),
        (Objective::Cpo, LossType::Ipo) => Box::new(cpo::Cpo::new(config, cpo::Shape::Ipo)),
        (Objective::Reward, _) => Box::new(reward::Reward::new(config)),
        (objective, loss_type) => {
            return Err(Error::Config {
                field: "loss_type".into(),
                what: format!("{} has no loss {}", objective.name(), loss_type.name()),
                help: "dpo has sigmoid, hinge, ipo and robust; cpo has sigmoid, hinge and ipo".into(),
            });
        }
    };
    Ok(Some(loss))
}

/// The logistic function.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Its logarithm.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(log_probs: &[f32], prompt: usize, reference: f64) -> Sequence {
        let token = |(index, &log_prob): (usize, &f32)| Token {
            log_prob,
            entropy: 1.0,
            mean_logit: 0.5,
            likeliest: index % 2 == 0,
            answer: index >= prompt,
        };
        let tokens = log_probs.iter().enumerate().map(token).collect();
        Sequence { tokens, reference, score: reference, label: reference > -4.0, margin: 0.2 }
    }

    /// Two pairs, and for a single answer's objective four rows, near no edge of any loss.
    fn groups(objective: Objective) -> Vec<Vec<Sequence>> {
        let all = [
            sequence(&[-0.5, -1.25, -0.75, -2.0], 2, -3.0),
            sequence(&[-1.5, -0.25], 0, -2.25),
            sequence(&[-1.0, -3.0], 1, -2.5),
            sequence(&[-2.0, -0.5, -1.0], 0, -4.25),
        ];
        all.chunks(objective.group()).map(<[Sequence]>::to_vec).collect()
    }

    fn total(loss: &dyn Loss, groups: &[Vec<Sequence>]) -> (f64, Vec<Slope>) {
        let first_targets = groups.iter().map(|group| group[0].tokens.len()).sum();
        let step = Step { groups: groups.len(), first_targets, baseline: 0.3 };
        let mut metrics = Metrics::default();
        let mut slopes = vec![Slope::default(); groups.iter().map(Vec::len).sum()];
        let mut rest = &mut slopes[..];
        let mut sum = 0.0;
        for group in groups {
            let (own, others) = rest.split_at_mut(group.len());
            sum += loss.group(group, &step, own, &mut metrics);
            rest = others;
        }
        (sum, slopes)
    }

    /// Every objective with every loss that it has.
    fn losses() -> Vec<(RunConfig, Box<dyn Loss>)> {
        use crate::settings::config::Method;
        use crate::settings::field::FieldValue;
        let mut losses = Vec::new();
        for &objective in Objective::ALL {
            for loss_type in LossType::CHOICES {
                let mut config = RunConfig::defaults(Method::Lora, objective);
                config.set("loss_type", loss_type).unwrap();
                (config.beta, config.label_smoothing, config.center_rewards_coefficient) = (0.3, 0.1, 0.05);
                (config.desirable_weight, config.undesirable_weight) = (1.5, 0.7);
                if let Ok(Some(loss)) = create(&config) {
                    losses.push((config, loss));
                }
            }
        }
        losses
    }

    #[test]
    fn slopes_are_the_derivatives() {
        const NEAR: f32 = 1.0 / 1024.0;
        let mut checked = 0;
        for (config, loss) in losses() {
            let name = format!("{} {}", config.objective.name(), config.loss_type.name());
            let groups = groups(config.objective);
            let (_, slopes) = total(loss.as_ref(), &groups);
            let mut index = 0;
            for group in 0..groups.len() {
                for place in 0..groups[group].len() {
                    let slope = slopes[index];
                    index += 1;
                    let by = |change: &dyn Fn(&mut Sequence, f32)| {
                        let at = |near: f32| {
                            let mut groups = groups.clone();
                            change(&mut groups[group][place], near);
                            total(loss.as_ref(), &groups).0
                        };
                        (at(NEAR) - at(-NEAR)) / (2.0 * f64::from(NEAR))
                    };
                    let mut check = |what: &str, got: f64, want: f64| {
                        assert!((got - want).abs() < 1e-4, "{name}: by {what}: {got}, and by differences {want}");
                        checked += 1;
                    };
                    if loss.needs().score {
                        check("the score", slope.score, by(&|sequence, near| sequence.score += f64::from(near)));
                        continue;
                    }
                    for token in 0..groups[group][place].tokens.len() {
                        let got =
                            slope.target + if groups[group][place].tokens[token].answer { slope.answer } else { 0.0 };
                        check("a token", got, by(&|sequence, near| sequence.tokens[token].log_prob += near));
                    }
                }
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn a_model_that_is_its_own_reference_has_learnt_nothing() {
        for (config, loss) in losses().into_iter().filter(|(_, loss)| loss.needs().reference) {
            let mut groups = groups(config.objective);
            groups.iter_mut().flatten().for_each(|sequence| sequence.reference = sequence.log_prob());
            let mut metrics = Metrics::default();
            let step = Step { groups: groups.len(), first_targets: 1, baseline: 0.0 };
            for group in &groups {
                loss.group(group, &step, &mut [Slope::default(); 2][..group.len()], &mut metrics);
            }
            loss.finish(&step, &mut metrics);
            assert_eq!(metrics.get("rewards/margins"), Some(0.0), "{}", config.objective.name());
        }
    }

    #[test]
    fn an_objective_has_the_losses_of_its_own() {
        let mut config = RunConfig::defaults(crate::settings::config::Method::Lora, Objective::Cpo);
        config.set("loss_type", "robust").unwrap();
        let error = create(&config).err().expect("there is no such loss");
        assert_eq!(error.to_string(), "loss_type: cpo has no loss robust");
    }

    #[test]
    fn logarithms_far_out() {
        assert_eq!(log_sigmoid(-800.0), -800.0);
        assert_eq!(log_sigmoid(800.0), 0.0);
        assert!((log_sigmoid(0.3) - sigmoid(0.3).ln()).abs() < 1e-15);
    }
}
