//! Rollouts: the answers that a model writes to prompts, what they earn, and how much more than others. Recorded ones take
//! the place of those that are written.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::comparison::Comparison;
use super::event::Event;
use super::judged::{Judged, Written};
use super::question::Question;
use super::watch::Watch;
use crate::data::batch::{ROUND, Size, mix, order};
use crate::data::render::Rendered;
use crate::data::rollouts::RolloutRow;
use crate::generate::{Generated, Generator, Sampling};
use crate::model::Model;
use crate::objective::Rollout;
use crate::objective::advantage::{advantages, compared, without_spread};
use crate::objective::gae::{self, Estimate, Known};
use crate::peft::Peft;
use crate::reward::Reward;
use crate::settings::config::{Objective, RunConfig};
use crate::{Error, Result};

/// Where answers come from.
enum Source {
    /// The model writes them.
    Written(Vec<Question>),
    /// They were recorded with what they earned; those of a group stand together.
    Recorded(Vec<RolloutRow>),
}

/// An answer that steps learn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rolled {
    /// Prompt and answer.
    ids: Vec<u32>,
    /// How many of them are the prompt.
    prompt: usize,
    /// Whether nothing is learnt from it.
    masked: bool,
    advantage: f64,
    old: Vec<f64>,
    reference: Vec<f64>,
    /// What the tokens led to, with values.
    #[serde(default)]
    estimate: Estimate,
    #[serde(default)]
    values: Vec<f64>,
}

impl Rolled {
    fn new(written: &Written, model: &Model, config: &RunConfig) -> Self {
        Self {
            ids: [&written.prompt[..], &written.ids].concat(),
            prompt: written.prompt.len(),
            masked: config.mask_truncated_completions && !written.ended(model),
            advantage: 0.0,
            old: Vec::new(),
            reference: Vec::new(),
            estimate: Estimate::default(),
            values: Vec::new(),
        }
    }

    pub(super) fn rendered(&self) -> Rendered {
        let targets = (0..self.ids.len()).map(|index| index >= self.prompt && !self.masked).collect();
        Rendered { ids: self.ids.clone(), targets, ..Rendered::default() }
    }

    /// What its tokens led to is found by this.
    fn known(&self, score: f64) -> Known<'_> {
        Known { score, old: &self.old, reference: &self.reference, values: &self.values }
    }

    /// What a loss is told of it.
    pub fn rollout(&self) -> Rollout {
        let Estimate { advantages, returns } = self.estimate.clone();
        Rollout {
            advantage: self.advantage,
            advantages,
            old: self.old.clone(),
            reference: self.reference.clone(),
            values: self.values.clone(),
            returns,
        }
    }
}

/// The answers that were written together, and what is said of them.
pub(super) struct Generation {
    /// TRL's metrics of a generation.
    pub metrics: Map<String, Value>,
    /// Each answer, and warnings.
    pub events: Vec<Event>,
}

/// Prompts, and what answers to them earn.
pub struct Rollouts {
    source: Source,
    held_out: Vec<Question>,
    rewards: Vec<Box<dyn Reward>>,
    generator: Option<Generator<Rc<Model>>>,
    /// How often answers were written.
    pub(super) generations: u64,
    /// Those that the current steps learn from.
    pub(super) rolled: Vec<Rolled>,
    pub(super) watch: Watch,
    keep: Option<Keep>,
}

/// Who keeps answers.
type Keep = Box<dyn FnMut(&RolloutRow) -> Result<()>>;

/// The model as it is in a run, and the run's settings.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    pub model: &'a Rc<Model>,
    pub peft: &'a dyn Peft,
    pub config: &'a RunConfig,
}

impl Rollouts {
    /// Answers that the model writes to these prompts, and to the held-out ones where it is evaluated.
    ///
    /// # Errors
    /// [`Error::Config`] without prompts or rewards.
    pub fn written(questions: Vec<Question>, held_out: Vec<Question>, rewards: Vec<Box<dyn Reward>>) -> Result<Self> {
        if questions.is_empty() {
            let (what, help) = ("there are no prompts".into(), "give at least one".into());
            return Err(Error::Config { field: "data".into(), what, help });
        }
        if rewards.is_empty() {
            let what = "nothing says what an answer earns".into();
            let help = "give at least one --reward, such as regex:PATTERN, max-words:12 or model:DIR".into();
            return Err(Error::Config { field: "reward".into(), what, help });
        }
        Ok(Self::of(Source::Written(questions), held_out, rewards))
    }

    /// Recorded answers with what they earned: see [`crate::data::rollouts::import_rollouts`].
    ///
    /// # Panics
    /// Without any.
    pub fn recorded(rows: Vec<RolloutRow>) -> Self {
        assert!(!rows.is_empty(), "no rollouts");
        Self::of(Source::Recorded(rows), Vec::new(), Vec::new())
    }

    fn of(source: Source, held_out: Vec<Question>, rewards: Vec<Box<dyn Reward>>) -> Self {
        let (rolled, watch) = (Vec::new(), Watch::default());
        Self { source, held_out, rewards, generator: None, generations: 0, rolled, watch, keep: None }
    }

    /// How many prompts there are.
    fn prompts(&self, config: &RunConfig) -> usize {
        match &self.source {
            Source::Written(questions) => questions.len(),
            Source::Recorded(rows) => rows.len() / config.num_generations as usize,
        }
    }

    /// Prompts that are answered at a time: as many as a generation has, or all there are.
    fn at_a_time(&self, config: &RunConfig) -> usize {
        (config.generation_size() / config.num_generations as usize).min(self.prompts(config))
    }

    /// Generations in an epoch: prompts that do not fill one are left for another epoch's order.
    pub(super) fn an_epoch(&self, config: &RunConfig) -> usize {
        self.prompts(config) / self.at_a_time(config)
    }

    /// The most ids of a prompt and its answer.
    pub(super) fn longest(&self, config: &RunConfig) -> usize {
        let most = config.max_completion_length as usize;
        match &self.source {
            Source::Written(questions) => {
                questions.iter().chain(&self.held_out).map(|question| question.ids.len() + most).max().unwrap_or(most)
            }
            Source::Recorded(rows) => {
                rows.iter().map(|row| row.prompt_ids.len() + row.completion_ids.len()).max().unwrap_or(most)
            }
        }
    }

    /// Room for any batch of answers.
    pub(super) fn largest_batch(&self, peft: &dyn Peft, config: &RunConfig) -> Size {
        let answer = match &self.source {
            Source::Written(_) => config.max_completion_length as usize,
            Source::Recorded(rows) => rows.iter().map(|row| row.completion_ids.len()).max().unwrap_or_default(),
        };
        let answers = config.per_device_train_batch_size as usize;
        let rows = answers * (peft.virtual_tokens() + self.longest(config));
        // With values one more for each, behind the last token.
        let beside = usize::from(config.objective == Objective::Ppo);
        Size::new(rows.next_multiple_of(ROUND), answers * (answer + beside))
    }

    /// Gives every answer that is learnt from, and what it earned, to `keep`, in order.
    pub fn keep(&mut self, keep: impl FnMut(&RolloutRow) -> Result<()> + 'static) {
        self.keep = Some(Box::new(keep));
    }

    /// The answers of the current generation as sequences.
    pub(super) fn rendered(&self) -> Vec<Rendered> {
        self.rolled.iter().map(Rolled::rendered).collect()
    }

    /// Whether there are prompts to evaluate.
    pub(super) fn has_held_out(&self) -> bool {
        !self.held_out.is_empty()
    }

    /// Prepares to write, in a rehearsal, too.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub(super) fn prepare(&mut self, model: &Rc<Model>, peft: Option<&dyn Peft>, config: &RunConfig) -> Result<()> {
        if self.generator.is_none() && matches!(self.source, Source::Written(_)) {
            let positions = peft.map_or(0, |peft| peft.virtual_tokens()) + self.longest(config);
            let slots = (config.generation_batch_size as usize).min(config.generation_size());
            self.generator = Some(Generator::new(model.clone(), peft, positions, slots)?);
        }
        Ok(())
    }

    /// Tells apart what a checkpoint is of: prompts and what is beside them, or recorded answers.
    pub(super) fn hash(&self, hash: &mut Sha256) {
        match &self.source {
            Source::Written(questions) => {
                for question in questions {
                    hash.update(serde_json::to_vec(&(&question.ids, &question.columns)).expect("plain values"));
                }
                self.rewards.iter().for_each(|reward| hash.update(reward.name()));
            }
            Source::Recorded(rows) => hash.update(serde_json::to_vec(rows).expect("plain values")),
        }
    }

    /// The answers for the next steps, the first of which is `step`: written by the model as it is now, judged, and compared.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed; what a reward fails with; [`Error::Config`] when no answer could be judged for
    /// several generations.
    pub(super) async fn next(
        &mut self,
        policy: Policy<'_>,
        comparison: &mut Comparison,
        step: usize,
    ) -> Result<Generation> {
        let Policy { model, config, .. } = policy;
        let group = config.num_generations as usize;
        let (at_a_time, epoch) = (self.at_a_time(config), self.an_epoch(config) as u64);
        let order = order(self.prompts(config), u64::from(config.seed), self.generations / epoch, config.shuffle);
        let first = (self.generations % epoch) as usize * at_a_time;
        let numbers: Vec<usize> =
            order[first..first + at_a_time].iter().flat_map(|&prompt| std::iter::repeat_n(prompt, group)).collect();
        let seed = mix(u64::from(config.seed) ^ mix(self.generations));
        self.generations += 1;
        let (written, judged) = match &self.source {
            Source::Recorded(rows) => {
                let row = |(at, &prompt): (usize, &usize)| &rows[prompt * group + at % group];
                let rows: Vec<&RolloutRow> = numbers.iter().enumerate().map(row).collect();
                let written = rows.iter().zip(&numbers).map(|(row, &prompt)| recorded(model, prompt, row)).collect();
                (written, Judged::recorded(&rows, config))
            }
            Source::Written(_) => {
                self.prepare(model, Some(policy.peft), config)?;
                let Source::Written(questions) = &self.source else { unreachable!("it was just looked at") };
                let written = write(self.generator.as_ref(), config, questions, &numbers, seed).await?;
                let judged = Judged::by(&mut self.rewards, questions, &written, config).await?;
                (written, judged)
            }
        };
        let mut metrics = judged.metrics(model, &written);
        let mut rolled: Vec<Rolled> = written.iter().map(|written| Rolled::new(written, model, config)).collect();
        // Objectives other than PPO have no such penalty.
        let penalty = |written: &Written| if written.ended(model) { 0.0 } else { config.missing_eos_penalty };
        let earned = |(total, written)| Some(Option::<f64>::clone(total)? - penalty(written));
        let totals: Vec<Option<f64>> = judged.totals.iter().zip(&written).map(earned).collect();
        compare(&mut rolled, &totals, &mut metrics, policy, comparison).await?;

        let mut generation = Generation { metrics, events: Vec::new() };
        for (answer, (written, rolled)) in written.into_iter().zip(&rolled).enumerate() {
            let rewards = judged.rewards(answer);
            generation.events.push(Event::Rollout {
                step,
                prompt: match &self.source {
                    Source::Written(questions) => questions[written.question].text.clone(),
                    Source::Recorded(_) => model.tokenizer.decode(&written.prompt),
                },
                completion: written.text.clone(),
                rewards: rewards.clone(),
                advantage: rolled.advantage,
                tokens: written.ids.len(),
            });
            if let Some(keep) = &mut self.keep {
                let Written { prompt: prompt_ids, ids: completion_ids, logps, .. } = written;
                keep(&RolloutRow { prompt_ids, completion_ids, rewards, logps })?;
            }
        }
        let learns = rolled.iter().any(|rolled| rolled.advantage != 0.0);
        generation.events.extend(self.watch.look(config, &judged.totals, learns, &generation.metrics)?);
        self.rolled = rolled;
        Ok(generation)
    }

    /// Has the model, with an adapter or without, write one answer to each held-out prompt: an event with how many tokens they
    /// have and what they earned, after so many steps. The adapter is the same each time.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed, and what a reward fails with.
    pub async fn evaluate(
        &mut self,
        model: &Rc<Model>,
        peft: Option<&dyn Peft>,
        config: &RunConfig,
        step: usize,
    ) -> Result<Event> {
        self.prepare(model, peft, config)?;
        let numbers: Vec<usize> = (0..self.held_out.len()).collect();
        // The same draws each time, and none of the run's.
        let seed = mix(!u64::from(config.seed));
        let written = write(self.generator.as_ref(), config, &self.held_out, &numbers, seed).await?;
        let judged = Judged::by(&mut self.rewards, &self.held_out, &written, config).await?;
        let tokens = written.iter().map(|written| written.ids.len()).sum();
        let metrics = judged.metrics(model, &written);
        Ok(Event::Eval { step, loss: None, tokens, best: false, examples: Vec::new(), metrics })
    }
}

fn recorded(model: &Model, question: usize, row: &RolloutRow) -> Written {
    let RolloutRow { prompt_ids, completion_ids, logps, .. } = row.clone();
    let text = model.tokenizer.decode(&completion_ids);
    Written { question, prompt: prompt_ids, ids: completion_ids, text, logps }
}

/// Has an answer written to each of some prompts.
async fn write(
    generator: Option<&Generator<Rc<Model>>>,
    config: &RunConfig,
    questions: &[Question],
    numbers: &[usize],
    seed: u64,
) -> Result<Vec<Written>> {
    let generator = generator.expect("it was prepared");
    let prompts: Vec<&[u32]> = numbers.iter().map(|&number| &questions[number].ids[..]).collect();
    let generated = generator.generate_all(&prompts, sampling(config, seed), |_, _| true).await?;
    let written = |(&question, generated): (&usize, Generated)| Written {
        question,
        prompt: questions[question].ids.clone(),
        ids: generated.ids.iter().copied().chain(generated.end).collect(),
        text: generated.text,
        logps: Some(generated.logps),
    };
    Ok(numbers.iter().zip(generated).map(written).collect())
}

/// Finds the advantages, and what the model and the reference make of each token where that is needed.
async fn compare(
    rolled: &mut [Rolled],
    totals: &[Option<f64>],
    metrics: &mut Map<String, Value>,
    policy: Policy<'_>,
    comparison: &mut Comparison,
) -> Result<()> {
    let Policy { model, peft, config } = policy;
    let needs = comparison.loss().needs();
    let (reference, has_values) = (needs.reference, needs.values.is_some());
    let takes_distance = config.objective == Objective::Rloo && reference;
    if has_values {
        // What nobody judged has no return, and its value nothing to learn.
        rolled.iter_mut().zip(totals).for_each(|(rolled, total)| rolled.masked |= total.is_none());
    }
    for rolled in rolled.chunks_mut(config.per_device_train_batch_size as usize) {
        let rows: Vec<Rendered> = rolled.iter().map(Rolled::rendered).collect();
        let rows: Vec<&Rendered> = rows.iter().collect();
        if rows.iter().all(|row| row.target_tokens() == 0) {
            continue;
        }
        if config.answers_grow_old() || takes_distance || has_values {
            let answers = comparison.policy_answers(model, peft, &rows).await?;
            for (rolled, answer) in rolled.iter_mut().zip(answers) {
                (rolled.old, rolled.values) = (answer.log_probs(), answer.values);
            }
        }
        if reference {
            let found = comparison.reference_tokens(model, &rows).await?;
            rolled.iter_mut().zip(found).for_each(|(rolled, found)| rolled.reference = found);
        }
    }
    if has_values {
        estimate(rolled, totals, metrics, config);
        return Ok(());
    }
    let mut distances = vec![0.0; rolled.len()];
    if takes_distance {
        for (distance, rolled) in distances.iter_mut().zip(&*rolled) {
            *distance = rolled.old.iter().zip(&rolled.reference).map(|(old, reference)| old - reference).sum();
        }
        let tokens: usize = rolled.iter().map(|rolled| rolled.old.len()).sum();
        metrics.insert("kl".into(), (distances.iter().sum::<f64>() / tokens.max(1) as f64).into());
    }
    let compared = compared(config, totals, &distances);
    metrics.insert("frac_reward_zero_std".into(), without_spread(config, &compared).into());
    let found = advantages(config, &compared);
    rolled.iter_mut().zip(found).for_each(|(rolled, advantage)| rolled.advantage = advantage);
    Ok(())
}

/// Finds what each token led to, with values; and TRL's metrics of that.
fn estimate(rolled: &mut [Rolled], totals: &[Option<f64>], metrics: &mut Map<String, Value>, config: &RunConfig) {
    let known: Vec<Known> =
        rolled.iter().zip(totals).filter_map(|(rolled, total)| Some(rolled.known((*total)?))).collect();
    let estimates = gae::estimate(config, &known);
    let answers = known.len().max(1) as f64;
    let distance: f64 =
        known.iter().flat_map(|answer| gae::distances(config, answer.old, answer.reference)).sum::<f64>() / answers;
    let score = known.iter().map(|answer| answer.score).sum::<f64>() / answers;
    let surprise = known.iter().flat_map(|answer| answer.old).map(|old| -old).sum::<f64>() / answers;
    let beside = -config.beta * distance;
    for (name, value) in [
        ("objective/kl", distance),
        ("objective/entropy", surprise),
        ("objective/non_score_reward", beside),
        ("objective/rlhf_reward", score + beside),
        ("objective/scores", score),
    ] {
        metrics.insert(name.into(), value.into());
    }
    let judged = rolled.iter_mut().zip(totals).filter(|(_, total)| total.is_some());
    for ((rolled, _), estimate) in judged.zip(estimates) {
        let tokens = estimate.advantages.len().max(1) as f64;
        rolled.advantage = estimate.advantages.iter().sum::<f64>() / tokens;
        rolled.estimate = estimate;
    }
}

fn sampling(config: &RunConfig, seed: u64) -> Sampling {
    Sampling {
        max_new_tokens: config.max_completion_length as usize,
        temperature: config.temperature as f32,
        top_k: config.top_k as usize,
        top_p: config.top_p as f32,
        min_p: config.min_p as f32,
        repetition_penalty: config.repetition_penalty as f32,
        seed,
    }
}
