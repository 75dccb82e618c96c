//! How much more an answer earned than others: what reinforcement learns by. Standard deviations are those of samples, over
//! n - 1, as TRL has them. An answer that earned nothing at all counts nowhere, and has the advantage 0.

use crate::settings::config::{Objective, RunConfig, ScaleRewards};

/// What keeps a spread of 0 from dividing.
const LEAST: f64 = 1e-4;

/// Mean and standard deviation of what is there; `None` of nothing, and the deviation of one is 0.
pub fn spread(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let count = values.clone().count();
    if count == 0 {
        return None;
    }
    let mean = values.clone().sum::<f64>() / count as f64;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (count.max(2) - 1) as f64).sqrt()))
}

/// The sum of what each answer earned, weighed; `None` where no reward had anything to say. `earned` is by reward, and no
/// weights are weights of 1.
pub fn totals(earned: &[Vec<Option<f64>>], weights: &[f64]) -> Vec<Option<f64>> {
    let answers = earned.first().map_or(0, Vec::len);
    let weight = |reward: usize| weights.get(reward).copied().unwrap_or(1.0);
    let of = |answer: usize| {
        let said = earned.iter().enumerate().filter_map(|(reward, earned)| Some(weight(reward) * earned[answer]?));
        said.fold(None, |sum, part| Some(sum.unwrap_or(0.0) + part))
    };
    (0..answers).map(of).collect()
}

/// What answers that earned these totals are compared by. `distances` is how much likelier each answer is than under the
/// reference, in nats: RLOO takes `beta` of it off what the answer earned, within `reward_clip_range`.
pub fn compared(config: &RunConfig, totals: &[Option<f64>], distances: &[f64]) -> Vec<Option<f64>> {
    if config.objective != Objective::Rloo {
        return totals.to_vec();
    }
    let clip = |total: f64| match config.reward_clip_range[..] {
        [least, most] => total.clamp(least, most),
        _ => total,
    };
    totals.iter().zip(distances).map(|(total, far)| Some(clip((*total)?) - config.beta * far)).collect()
}

/// The advantages of answers by what they are compared by; those of a group of `num_generations` stand together.
pub fn advantages(config: &RunConfig, compared: &[Option<f64>]) -> Vec<f64> {
    match config.objective {
        Objective::Rloo => leave_one_out(config, compared),
        _ => group_relative(config, compared),
    }
}

/// The share of the groups in which all answers earned the same; where the spread is that of all answers, 1 or 0.
pub fn without_spread(config: &RunConfig, compared: &[Option<f64>]) -> f64 {
    let group = match config.scale_rewards {
        ScaleRewards::Batch => compared.len().max(1),
        _ => config.num_generations as usize,
    };
    let groups = compared.chunks(group);
    let even = |group: &&[Option<f64>]| spread(group.iter().flatten().copied()).is_none_or(|(_, least)| least < 1e-8);
    groups.clone().filter(even).count() as f64 / groups.len() as f64
}

fn group_relative(config: &RunConfig, totals: &[Option<f64>]) -> Vec<f64> {
    let (_, of_all) = spread(totals.iter().flatten().copied()).unwrap_or_default();
    let group = |totals: &[Option<f64>]| -> Vec<f64> {
        let (mean, of_group) = spread(totals.iter().flatten().copied()).unwrap_or_default();
        let divisor = match config.scale_rewards {
            ScaleRewards::Group => of_group + LEAST,
            ScaleRewards::Batch => of_all + LEAST,
            ScaleRewards::None => 1.0,
        };
        totals.iter().map(|total| total.map_or(0.0, |total| (total - mean) / divisor)).collect()
    };
    totals.chunks(config.num_generations as usize).flat_map(group).collect()
}

fn leave_one_out(config: &RunConfig, earned: &[Option<f64>]) -> Vec<f64> {
    let group = |earned: &[Option<f64>]| -> Vec<f64> {
        let (sum, count) = earned.iter().flatten().fold((0.0, 0), |(sum, count), own| (sum + own, count + 1));
        let others = |own: f64| if count > 1 { own - (sum - own) / f64::from(count - 1) } else { 0.0 };
        earned.iter().map(|own| own.map_or(0.0, others)).collect()
    };
    let mut advantages: Vec<f64> = earned.chunks(config.num_generations as usize).flat_map(group).collect();
    if config.normalize_advantages {
        let counted = advantages.iter().zip(earned).filter(|(_, earned)| earned.is_some()).map(|(own, _)| *own);
        let (mean, deviation) = spread(counted).unwrap_or_default();
        for (advantage, _) in advantages.iter_mut().zip(earned).filter(|(_, earned)| earned.is_some()) {
            *advantage = (*advantage - mean) / (deviation + LEAST);
        }
    }
    advantages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config::Method;

    const EARNED: [f64; 8] = [1.0, 0.0, 0.5, -1.0, 0.0, 1.0, 1.0, 0.5];

    fn config(objective: Objective) -> RunConfig {
        let mut config = RunConfig::defaults(Method::Lora, objective);
        config.num_generations = 4;
        config
    }

    fn by(config: &RunConfig, totals: &[Option<f64>], distances: &[f64]) -> Vec<f64> {
        advantages(config, &compared(config, totals, distances))
    }

    #[test]
    fn groups_without_spread_are_counted() {
        let mut config = config(Objective::Grpo);
        let totals = [[Some(1.0); 4], [Some(0.0), None, Some(2.0), None]].concat();
        assert_eq!(without_spread(&config, &totals), 0.5);
        config.scale_rewards = ScaleRewards::Batch;
        assert_eq!((without_spread(&config, &totals), without_spread(&config, &totals[..4])), (0.0, 1.0));
    }

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{got:?} for {want:?}");
    }

    #[test]
    fn group_relative_as_trl_has_it() {
        let totals: Vec<Option<f64>> = EARNED.iter().map(|&earned| Some(earned)).collect();
        let mut config = config(Objective::Grpo);
        near(
            &by(&config, &totals, &[0.0; 8]),
            &[1.024_575, -0.146_368, 0.439_104, -1.317_311, -1.305_310, 0.783_186, 0.783_186, -0.261_062],
        );
        config.scale_rewards = ScaleRewards::None;
        near(&by(&config, &totals, &[0.0; 8])[..4], &[0.875, -0.125, 0.375, -1.125]);
        config.scale_rewards = ScaleRewards::Batch;
        near(&by(&config, &totals, &[0.0; 8])[..1], &[0.875 / (0.694_365 + 1e-4)]);
    }

    #[test]
    fn what_earned_nothing_counts_nowhere() {
        let totals = [Some(1.0), None, Some(0.0), Some(-1.0), None, None, None, Some(3.0)];
        near(&by(&config(Objective::Grpo), &totals, &[0.0; 8]), &[0.9999, 0.0, 0.0, -0.9999, 0.0, 0.0, 0.0, 0.0]);
        near(&by(&config(Objective::Rloo), &totals, &[0.0; 8]), &[1.5, 0.0, 0.0, -1.5, 0.0, 0.0, 0.0, 0.0]);
        let earned = [vec![Some(1.0), None, None], vec![Some(2.0), Some(1.0), None]];
        assert_eq!(super::totals(&earned, &[1.0, 0.5]), [Some(2.0), Some(0.5), None]);
        assert_eq!(super::totals(&earned, &[]), [Some(3.0), Some(1.0), None]);
    }

    #[test]
    fn leave_one_out_with_the_distance() {
        let totals: Vec<Option<f64>> = EARNED[..4].iter().map(|&earned| Some(earned)).collect();
        let mut config = config(Objective::Rloo);
        config.beta = 0.5;
        // 1, 0, 0.5, -1 become 0, 0, 1, -1.
        near(&by(&config, &totals, &[2.0, 0.0, -1.0, 0.0]), &[0.0, 0.0, 4.0 / 3.0, -4.0 / 3.0]);
        config.reward_clip_range = vec![-0.5, 0.5];
        config.beta = 0.0;
        near(&by(&config, &totals, &[2.0; 4]), &[0.5, -1.0 / 6.0, 0.5, -5.0 / 6.0]);
        config.normalize_advantages = true;
        let found = by(&config, &totals, &[0.0; 4]);
        let (mean, deviation) = spread(found.iter().copied()).unwrap();
        assert!(mean.abs() < 1e-9 && (deviation - 1.0).abs() < 1e-3);
    }
}
