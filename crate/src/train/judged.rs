//! Answers that were written together, what they earned, and TRL's metrics of that.

use serde_json::{Map, Value};

use super::question::Question;
use crate::Result;
use crate::data::rollouts::RolloutRow;
use crate::model::Model;
use crate::objective::advantage::{spread, totals};
use crate::reward::{Answer, Reward};
use crate::settings::config::RunConfig;

/// An answer.
pub(super) struct Written {
    /// The number of its prompt.
    pub question: usize,
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// The answer's, the end token too.
    pub ids: Vec<u32>,
    /// The answer's text.
    pub text: String,
    /// The log-probability of each id when it was drawn, where that is known.
    pub logps: Option<Vec<f32>>,
}

impl Written {
    /// Whether it came to its end.
    pub fn ended(&self, model: &Model) -> bool {
        self.ids.last().is_some_and(|id| model.tokenizer.end_ids().contains(id))
    }
}

/// What answers earned.
pub(super) struct Judged {
    /// The rewards.
    names: Vec<String>,
    /// By reward and answer.
    earned: Vec<Vec<Option<f64>>>,
    /// The sum of each answer.
    pub totals: Vec<Option<f64>>,
}

impl Judged {
    fn new(names: Vec<String>, earned: Vec<Vec<Option<f64>>>, config: &RunConfig) -> Self {
        let totals = totals(&earned, &config.reward_weights);
        Self { names, earned, totals }
    }

    /// What rewards say of answers to these questions. No number counts as nothing to say.
    ///
    /// # Errors
    /// As [`Reward::judge`].
    pub async fn by<'a>(
        rewards: &mut [Box<dyn Reward>],
        questions: &'a [Question],
        written: &'a [Written],
        config: &RunConfig,
    ) -> Result<Self> {
        let answer = |written: &'a Written| {
            let question = &questions[written.question];
            Answer {
                prompt: &question.text,
                columns: &question.columns,
                text: &written.text,
                prompt_ids: &written.prompt,
                ids: &written.ids,
                max_length: config.max_completion_length as usize,
            }
        };
        let answers: Vec<Answer> = written.iter().map(answer).collect();
        let (mut names, mut earned) = (Vec::new(), Vec::new());
        for reward in rewards {
            let own = reward.judge(&answers).await?;
            earned.push(own.into_iter().map(|earned| earned.filter(|earned| earned.is_finite())).collect());
            names.push(reward.name().to_owned());
        }
        Ok(Self::new(names, earned, config))
    }

    /// What was recorded of answers.
    pub fn recorded(rows: &[&RolloutRow], config: &RunConfig) -> Self {
        let names: Vec<String> = rows.first().map_or_else(Vec::new, |row| row.rewards.keys().cloned().collect());
        let earned = names.iter().map(|name| rows.iter().map(|row| row.rewards[name].as_f64()).collect()).collect();
        Self::new(names, earned, config)
    }

    /// What one answer earned, by reward.
    pub fn rewards(&self, answer: usize) -> Map<String, Value> {
        self.names.iter().zip(&self.earned).map(|(name, earned)| (name.clone(), earned[answer].into())).collect()
    }

    /// TRL's metrics of the answers, under its names.
    pub fn metrics(&self, model: &Model, written: &[Written]) -> Map<String, Value> {
        let mut metrics = Map::new();
        let mut tell = |name: &str, value: f64| metrics.insert(name.to_owned(), value.into());
        let mut lengths_of = |kind: &str, some: &dyn Fn(&&Written) -> bool| {
            let lengths: Vec<usize> = written.iter().filter(some).map(|written| written.ids.len()).collect();
            let count = lengths.len();
            tell(&format!("completions/mean_{kind}length"), lengths.iter().sum::<usize>() as f64 / count.max(1) as f64);
            tell(&format!("completions/min_{kind}length"), lengths.iter().min().copied().unwrap_or_default() as f64);
            tell(&format!("completions/max_{kind}length"), lengths.iter().max().copied().unwrap_or_default() as f64);
            count
        };
        let all = lengths_of("", &|_| true);
        let ended = lengths_of("terminated_", &|written| written.ended(model));
        tell("completions/clipped_ratio", 1.0 - ended as f64 / all.max(1) as f64);
        for (name, earned) in self.names.iter().zip(&self.earned) {
            if let Some((mean, deviation)) = spread(earned.iter().flatten().copied()) {
                tell(&format!("rewards/{name}/mean"), mean);
                tell(&format!("rewards/{name}/std"), deviation);
            }
        }
        if let Some((mean, deviation)) = spread(self.totals.iter().flatten().copied()) {
            tell("reward", mean);
            tell("reward_std", deviation);
        }
        metrics
    }
}
