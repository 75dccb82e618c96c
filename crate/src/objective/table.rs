//! The table of losses: one is a file beside this one and a row here.

use super::loss::Loss;
use super::{cpo, dpo, grpo, kto, orpo, ppo, reward, rloo, simpo};
use crate::settings::config::{LossType, Objective, RunConfig};
use crate::{Error, Result};

/// Makes a loss as the settings say.
type Make = fn(&RunConfig) -> Box<dyn Loss>;

/// Every loss: the objective, its `loss_type` where it has several, and how it is made.
const LOSSES: &[(Objective, Option<LossType>, Make)] = &[
    (Objective::Dpo, Some(LossType::Sigmoid), |config| Box::new(dpo::Dpo::new(config, dpo::Shape::Sigmoid))),
    (Objective::Dpo, Some(LossType::Hinge), |config| Box::new(dpo::Dpo::new(config, dpo::Shape::Hinge))),
    (Objective::Dpo, Some(LossType::Ipo), |config| Box::new(dpo::Dpo::new(config, dpo::Shape::Ipo))),
    (Objective::Dpo, Some(LossType::Robust), |config| Box::new(dpo::Dpo::new(config, dpo::Shape::Robust))),
    (Objective::Kto, None, |config| Box::new(kto::Kto::new(config))),
    (Objective::Orpo, None, |config| Box::new(orpo::Orpo::new(config))),
    (Objective::Cpo, Some(LossType::Sigmoid), |config| Box::new(cpo::Cpo::new(config, cpo::Shape::Sigmoid))),
    (Objective::Cpo, Some(LossType::Hinge), |config| Box::new(cpo::Cpo::new(config, cpo::Shape::Hinge))),
    (Objective::Cpo, Some(LossType::Ipo), |config| Box::new(cpo::Cpo::new(config, cpo::Shape::Ipo))),
    (Objective::Cpo, Some(LossType::Simpo), |config| Box::new(simpo::SimPo::new(config))),
    (Objective::Reward, None, |config| Box::new(reward::Reward::new(config))),
    (Objective::Grpo, Some(LossType::Dapo), |config| Box::new(grpo::Grpo::new(config, grpo::Mean::Written))),
    (Objective::Grpo, Some(LossType::Grpo), |config| Box::new(grpo::Grpo::new(config, grpo::Mean::Answers))),
    (Objective::Grpo, Some(LossType::Bnpo), |config| Box::new(grpo::Grpo::new(config, grpo::Mean::Tokens))),
    (Objective::Grpo, Some(LossType::DrGrpo), |config| Box::new(grpo::Grpo::new(config, grpo::Mean::Longest))),
    (Objective::Rloo, None, |config| Box::new(rloo::Rloo::new(config))),
    (Objective::Ppo, None, |config| Box::new(ppo::Ppo::new(config))),
];

/// The values of `loss_type` that an objective has.
pub fn loss_types(objective: Objective) -> Vec<&'static str> {
    let own = LOSSES.iter().filter(|(of, ..)| *of == objective);
    own.filter_map(|(_, loss_type, _)| loss_type.map(LossType::name)).collect()
}

/// The loss that a run's settings name; `None` for supervised training, which needs none.
///
/// # Errors
/// [`Error::Config`] for a `loss_type` that the objective does not have.
pub fn create(config: &RunConfig) -> Result<Option<Box<dyn Loss>>> {
    let (objective, asked) = (config.objective, config.loss_type);
    let is_it =
        |of: Objective, loss_type: Option<LossType>| of == objective && loss_type.is_none_or(|own| own == asked);
    match LOSSES.iter().find(|(of, loss_type, _)| is_it(*of, *loss_type)) {
        Some((.., make)) => Ok(Some(make(config))),
        None if objective == Objective::Sft => Ok(None),
        None => Err(Error::Config {
            field: "loss_type".into(),
            what: format!("{} has no loss {}", objective.name(), asked.name()),
            help: format!("give one of {}", loss_types(objective).join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::{Metrics, Rollout, Sequence, Slope, Step, Token};
    use crate::settings::config::Rows;

    fn sequence(log_probs: &[f32], prompt: usize, reference: f64) -> Sequence {
        let token = |(index, &log_prob): (usize, &f32)| Token {
            log_prob,
            entropy: 1.0,
            mean_logit: 0.5,
            likeliest: index % 2 == 0,
            answer: index >= prompt,
        };
        let tokens: Vec<Token> = log_probs.iter().enumerate().map(token).collect();
        // Some ratios within the clip range, and some far outside, on either side of an advantage of either sign.
        let near = |by: &[f64]| -> Vec<f64> {
            let answer = tokens.iter().filter(|token| token.answer).zip(by);
            answer.map(|(token, by)| f64::from(token.log_prob) + by).collect()
        };
        let rollout = Rollout {
            advantage: reference + 2.75,
            advantages: vec![reference + 2.75, 0.5, -0.75, 1.25],
            old: near(&[0.05, -0.4, 0.5]),
            reference: near(&[0.3, -0.2, 0.1]),
            values: vec![0.1, 0.5, -0.3, 0.2],
            returns: vec![1.0, -0.5, 0.4, 0.0],
        };
        // Some within the clip range of the old ones, and some outside on either side.
        let values = [0.2, 0.9, -0.35, -0.4][..tokens.len()].to_vec();
        Sequence { tokens, reference, score: reference, values, label: reference > -4.0, margin: 0.2, rollout }
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
        let first_tokens = groups.iter().map(|group| group[0].len()).sum();
        let step = Step { groups: groups.len(), first_targets, first_tokens, baseline: 0.3, rollout_tokens: 7.0 };
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
                    let slope = &slopes[index];
                    index += 1;
                    let mut by_token = slope.tokens.iter();
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
                        let of_answer = match groups[group][place].tokens[token].answer {
                            true => slope.answer + by_token.next().copied().unwrap_or_default(),
                            false => 0.0,
                        };
                        let got = slope.target + of_answer;
                        check("a token", got, by(&|sequence, near| sequence.tokens[token].log_prob += near));
                        if loss.needs().values.is_some() {
                            let by = by(&|sequence, near| sequence.values[token] += f64::from(near));
                            check("a value", slope.values[token], by);
                        }
                    }
                }
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn a_model_that_is_its_own_reference_has_learnt_nothing() {
        let compared = |config: &RunConfig| config.objective.rows() != Rows::Prompts;
        for (config, loss) in losses().into_iter().filter(|(config, loss)| compared(config) && loss.needs().reference) {
            let mut groups = groups(config.objective);
            groups.iter_mut().flatten().for_each(|sequence| sequence.reference = sequence.log_prob());
            let mut metrics = Metrics::default();
            let step = Step { groups: groups.len(), first_targets: 1, ..Step::default() };
            for group in &groups {
                loss.group(group, &step, &mut vec![Slope::default(); group.len()], &mut metrics);
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
}
