//! The training loop, a step at a time: whoever drives it may pause or stop between any two.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::best::Best;
use super::comparison::Comparison;
use super::evaluation::one_by_one;
use super::event::Event;
use super::measure;
use super::optimizer::{Optimizer, StepReport};
use super::pass::Pass;
use super::question::Question;
use super::recompute::choose_recompute;
use super::rollouts::Rollouts;
use super::schedule::Schedule;
use super::trunk::{Spill, Trunk};
use super::tune::tune_for;
use crate::clock::now_ms;
use crate::data::batch::{Asked, Batch, Dataset, Layout, Size, mix, order};
use crate::data::example::Example;
use crate::data::render::{Rendered, Renderer};
use crate::gpu::{Buffer, Context, Plan, PlanStats};
use crate::model::Model;
use crate::objective::{Metrics, Needs, Step, sft};
use crate::ops::Targets;
use crate::peft::Peft;
use crate::settings::config::{Objective, Recompute, RunConfig};
use crate::tape::Tape;
use crate::{Error, Result};

/// Steps on their way at a time: the device works on the next while the last one's loss travels.
const IN_FLIGHT: usize = 2;

/// Plans kept, one for each size that the batches have.
const PLANS: usize = 8;

/// Skipped steps in a row after which a run gives up.
const SKIPS: usize = 3;

/// Renders examples as the run config says; each comes with its line.
///
/// # Errors
/// The first example that cannot be used.
pub fn prepare(model: &Model, config: &RunConfig, file: &str, examples: &[(usize, Example)]) -> Result<Vec<Rendered>> {
    if examples.is_empty() {
        return Err(Error::Data {
            file: file.into(),
            line: None,
            what: "there are no examples".into(),
            help: "give at least one: a line of JSON with messages, prompt and completion, text, or input_ids".into(),
        });
    }
    let renderer = Renderer::new(&model.tokenizer, model.template.as_deref(), model.config.context_length, config);
    let set = renderer.render_all(file, examples);
    set.errors.first().cloned().map_or_else(|| Ok(set.into_sequences()), Err)
}

/// Room for any batch in `steps` steps. Of a run of very many epochs, only the first are looked at.
fn largest_batch(dataset: &Dataset, config: &RunConfig, steps: usize) -> Size {
    const EPOCHS: u64 = 1000;
    let mut left = steps.saturating_mul(config.gradient_accumulation_steps as usize);
    let mut largest = Size { rows: 0, targets: 0 };
    for epoch in 0..EPOCHS {
        let batches = dataset.plan(&order(dataset.groups(), u64::from(config.seed), epoch, config.shuffle));
        largest = batches.iter().take(left).map(|members| dataset.size(members)).fold(largest, Size::or);
        left = left.saturating_sub(batches.len());
        if left == 0 {
            break;
        }
    }
    largest
}

/// The settings with what the model was loaded as, checked.
pub(super) fn settled(config: &RunConfig, model: &Model) -> Result<RunConfig> {
    let mut config = config.clone();
    config.take_model(model.load_in_4bit, model.context.half())?;
    config.validate()?;
    Ok(config)
}

/// How a data set of this run is laid out.
pub(super) fn layout(config: &RunConfig, model: &Model, peft: &dyn Peft, max_length: usize) -> Layout {
    Layout {
        packing: config.packing,
        per_device_train_batch_size: config.per_device_train_batch_size as usize,
        max_length,
        virtual_tokens: peft.virtual_tokens(),
        vocab_size: model.config.vocab,
    }
}

/// Whether an example of so many tokens fits behind the virtual ones.
pub(super) fn has_room(model: &Model, peft: &dyn Peft, longest: usize) -> Result<()> {
    let (virtual_tokens, positions) = (peft.virtual_tokens(), model.config.context_length);
    if longest + virtual_tokens <= positions {
        return Ok(());
    }
    Err(Error::Config {
        field: "num_virtual_tokens".into(),
        what: format!(
            "{virtual_tokens} virtual tokens and an example of {longest} pass the model's {positions} positions"
        ),
        help: "use fewer virtual tokens or a shorter max_length".into(),
    })
}

/// What a method adds to the gradients of a step, as a plan of its own.
///
/// # Errors
/// As [`Plan::new`].
pub fn penalty(peft: &dyn Peft, context: &Context) -> Result<Option<Plan>> {
    let mut t = Tape::new(context);
    peft.penalty(&mut t).then(|| t.finish(context)).transpose()
}

/// A running training.
pub struct Trainer {
    pub(super) model: Rc<Model>,
    pub(super) peft: Rc<dyn Peft>,
    pub(super) config: RunConfig,
    pub(super) dataset: Dataset,
    pub(super) held_out: Vec<Rendered>,
    /// Bytes of text that the targets of what is held out stand for, where that is known.
    pub(super) held_out_bytes: Option<usize>,
    /// What it is asked along the way.
    pub(super) samples: Vec<Question>,
    /// What the objective needs, where it is no supervised training.
    needs: Option<Needs>,
    /// How it compares, then.
    pub(super) comparison: Option<Comparison>,
    /// The same for what is held out.
    pub(super) held_out_comparison: Option<Comparison>,
    /// Which evaluation is the best, where the run goes by that.
    pub(super) best: Option<Best>,
    /// Whether the parameters are those of the best evaluation.
    pub(super) took_best: bool,
    /// In reinforcement, where answers come from; the data set is then those of the current steps.
    pub(super) rollouts: Option<Rollouts>,
    /// What is measured of the answers that no step has told yet.
    pub(super) unsaid: Map<String, Value>,
    schedule: Schedule,
    pub(super) optimizer: Optimizer,
    passes: VecDeque<(Size, Pass)>,
    /// Room for every batch: its pass comes first, so that the others find the arena large enough.
    largest: Size,
    /// What the method adds to the gradients of a step.
    penalty: Option<Plan>,
    /// Where the lower blocks are frozen, and there is a second epoch to use what they made in the first.
    trunk: Option<Trunk>,
    /// The loss of the current step, which every pass adds to.
    total: Buffer,
    /// Micro-batches of the current epoch that are still to come.
    pub(super) queue: VecDeque<Vec<usize>>,
    pub(super) epoch: u64,
    an_epoch: usize,
    /// Steps started, and steps there will be.
    pub(super) step: usize,
    pub(super) steps: usize,
    pub(super) micro_step: u32,
    pub(super) pending: VecDeque<Pending>,
    pub(super) last_finished: f64,
    pub(super) last_loss: f64,
    /// Sum and number of the losses since the last report. One that is not finite is in neither.
    pub(super) unreported: (f64, usize),
    pub(super) skips: usize,
    /// Tokens worked on so far.
    pub(super) num_tokens: u64,
    stats: PlanStats,
}

/// A step on its way.
pub(super) struct Pending {
    step: usize,
    learning_rate: f64,
    tokens: usize,
    target_tokens: usize,
    started: f64,
    /// Milliseconds for which work was held before it began.
    held_ms: f64,
    report: StepReport,
    /// The loss and the metrics, where the device does not add the loss up.
    compared: Option<Compared>,
}

/// The loss of a step, and what its objective measures.
struct Compared {
    loss: f64,
    metrics: Map<String, Value>,
}

impl Trainer {
    /// Prepares a run of `peft` on `examples`; `held_out` is evaluated and never learnt.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit together, [`Error::Limit`] for what the device cannot hold.
    pub fn new(
        model: Rc<Model>,
        peft: Rc<dyn Peft>,
        config: &RunConfig,
        examples: Vec<Rendered>,
        held_out: Vec<Rendered>,
    ) -> Result<Self> {
        let config = settled(config, &model)?;
        let longest = examples.iter().chain(&held_out).map(|example| example.ids.len()).max().unwrap_or(0);
        let layout =
            layout(&config, &model, peft.as_ref(), (config.max_length as usize).min(model.config.context_length));
        has_room(&model, peft.as_ref(), longest)?;
        let comparison = Comparison::new(&model, &config, examples.len())?;
        let held_out_comparison =
            if held_out.is_empty() { None } else { Comparison::new(&model, &config, held_out.len())? };
        let asked = comparison.as_ref().map_or(Asked::Targets, Comparison::asked);
        let dataset = Dataset::grouped(examples, layout, config.objective.group(), asked);
        let batches = dataset.plan(&order(dataset.groups(), u64::from(config.seed), 0, config.shuffle));
        let an_epoch = batches.len().div_ceil(config.gradient_accumulation_steps as usize);
        let mut trainer = Self::of(model, peft, config, dataset, comparison, an_epoch, None)?;
        trainer.held_out = held_out;
        trainer.held_out_comparison = held_out_comparison;
        Ok(trainer)
    }

    /// A run of so many steps an epoch, on a data set or on answers that are still to be written.
    pub(super) fn of(
        model: Rc<Model>,
        peft: Rc<dyn Peft>,
        mut config: RunConfig,
        dataset: Dataset,
        comparison: Option<Comparison>,
        an_epoch: usize,
        rollouts: Option<Rollouts>,
    ) -> Result<Self> {
        let needs = comparison.as_ref().map(|comparison| comparison.loss().needs());
        let steps = match usize::try_from(config.max_steps) {
            Ok(steps) => steps,
            Err(_) => ((config.num_train_epochs * an_epoch as f64).ceil() as usize).max(1),
        };
        config.max_steps = i32::try_from(steps).unwrap_or(i32::MAX);
        peft.begin(steps)?;
        let largest = match &rollouts {
            Some(rollouts) => rollouts.largest_batch(peft.as_ref(), &config),
            None => largest_batch(&dataset, &config, steps),
        };
        let repeats = rollouts.is_none() && steps > an_epoch && peft.first_layer() > 0 && config.trunk_cache > 0;
        let trunk_bytes = u64::from(config.trunk_cache) * 1_000_000;
        let trunk = repeats.then(|| Trunk::new(dataset.examples().len(), model.config.hidden, trunk_bytes));
        if config.recompute == Recompute::Auto {
            config.recompute = choose_recompute(&model, peft.as_ref(), largest, repeats, needs, &config)?;
        }
        let optimizer = Optimizer::new(&model.context, peft.params(), &config)?;
        Ok(Self {
            needs,
            comparison,
            held_out_comparison: None,
            rollouts,
            best: Best::new(&config),
            took_best: false,
            unsaid: Map::new(),
            num_tokens: 0,
            schedule: Schedule::new(&config, steps),
            optimizer,
            passes: VecDeque::new(),
            largest,
            penalty: None,
            trunk,
            total: model.context.buffer("loss", 4)?,
            queue: VecDeque::new(),
            epoch: 0,
            an_epoch,
            step: 0,
            steps,
            micro_step: 0,
            pending: VecDeque::new(),
            last_finished: 0.0,
            last_loss: f64::NAN,
            unreported: (0.0, 0),
            skips: 0,
            stats: PlanStats::default(),
            model,
            peft,
            config,
            dataset,
            held_out: Vec::new(),
            held_out_bytes: None,
            samples: Vec::new(),
        })
    }

    /// The model under it.
    pub fn model(&self) -> &Rc<Model> {
        &self.model
    }

    /// The adapter that is being trained.
    pub fn peft(&self) -> &Rc<dyn Peft> {
        &self.peft
    }

    /// The resolved run config.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Steps there will be.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Steps started so far.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// Whether every step has been started, or the run stops early.
    pub fn is_done(&self) -> bool {
        self.step >= self.steps || self.best.as_ref().is_some_and(Best::is_over)
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.an_epoch
    }

    /// What the last step cost.
    pub fn stats(&self) -> PlanStats {
        self.stats
    }

    /// Whether this run keeps what its frozen lower blocks make of each example.
    pub fn has_trunk(&self) -> bool {
        self.trunk.is_some()
    }

    /// Gives the trunk a file to go on in when its memory is full.
    pub fn spill_to(&mut self, spill: Box<dyn Spill>) {
        if let Some(trunk) = &mut self.trunk {
            trunk.spill_to(spill);
        }
    }

    /// Finds the fastest kernels for this run on a GPU where that was not done yet; says whether any were tried. `tell`
    /// is given the products done and those in all.
    ///
    /// # Errors
    /// As [`tune_for`].
    pub async fn tune(&self, mut tell: impl FnMut(usize, usize)) -> Result<bool> {
        tune_for(&self.model, self.peft.as_ref(), self.largest, |done, total, _| tell(done, total)).await
    }

    /// The run's first event.
    pub fn start_event(&self) -> Event {
        let model = &self.model;
        Event::Start {
            model: json!({
                "name": model.config.name,
                "file": model.file,
                "quantization": model.quantization,
                "parameters": model.parameters,
                "config": model.config,
            }),
            method: self.peft.config().into(),
            device: json!(model.context.info()),
            trainable: self.peft.params().count(),
            config: self.config.to_json(),
        }
    }

    /// The examples of each micro-batch of an epoch, or of a generation of answers, which may be learnt from several times.
    pub(super) fn batches_of(&self, dataset: &Dataset, epoch: u64) -> Vec<Vec<usize>> {
        let seed = u64::from(self.config.seed);
        let (seed, times) = match self.rollouts {
            Some(_) => (mix(seed), self.config.num_iterations as usize),
            None => (seed, 1),
        };
        let batches = dataset.plan(&order(dataset.groups(), seed, epoch, self.config.shuffle));
        std::iter::repeat_n(batches, times).flatten().collect()
    }

    /// The next micro-batches of one step; an epoch's last step may have fewer.
    fn next_batches(&mut self) -> Vec<Batch> {
        if self.queue.is_empty() {
            self.queue = self.batches_of(&self.dataset, self.epoch).into();
            self.epoch += 1;
        }
        let take = (self.config.gradient_accumulation_steps as usize).min(self.queue.len());
        self.queue.drain(..take).map(|members| self.dataset.batch(&members)).collect()
    }

    /// Records the largest passes, in a rehearsal; returns their size and what they need.
    pub(super) fn rehearse(&mut self) -> Result<(Size, PlanStats)> {
        self.select_pass(self.largest)?;
        let (size, pass) = self.passes.back().expect("just selected");
        let (size, stats) = (*size, pass.stats());
        let (model, peft) = (self.model.clone(), self.peft.clone());
        match &mut self.held_out_comparison {
            None => {
                let held_out = one_by_one(&model, Some(peft.as_ref()), &self.held_out);
                if let Some(size) = (0..self.held_out.len()).map(|index| held_out.size(&[index])).reduce(Size::or) {
                    Pass::new(&model, Some(peft.as_ref()), size, None)?;
                }
            }
            Some(comparison) => comparison.rehearse(&model, peft.as_ref(), &self.held_out, at_once(&self.config))?,
        }
        match (&mut self.comparison, &mut self.rollouts) {
            (Some(comparison), Some(rollouts)) => {
                rollouts.prepare(&model, Some(peft.as_ref()), &self.config)?;
                let old = self.config.answers_grow_old() || self.config.objective != Objective::Grpo;
                comparison.prepare(&model, peft.as_ref(), self.largest, old)?;
            }
            (Some(comparison), None) => {
                let batch = self.config.per_device_train_batch_size as usize;
                comparison.rehearse(&model, peft.as_ref(), self.dataset.examples(), batch)?;
            }
            (None, _) => {}
        }
        Ok((size, stats))
    }

    /// Makes the pass for batches of this size the last of `passes`.
    fn select_pass(&mut self, size: Size) -> Result<()> {
        if let Some(index) = self.passes.iter().position(|(known, _)| *known == size) {
            let pass = self.passes.remove(index).expect("the index was just found");
            self.passes.push_back(pass);
            return Ok(());
        }
        if self.passes.len() == PLANS {
            self.passes.pop_front();
        }
        let targets = match self.needs {
            Some(needs) => measure::targets(&self.model, size.targets, needs)?,
            None => self.model.targets(&self.model.context, size.targets)?,
        };
        let targets = Targets { total: self.total.clone(), ..targets };
        let (peft, recompute) = (self.peft.as_ref(), self.config.recompute);
        let pass = Pass::training(&self.model, peft, size.rows, recompute, targets, self.trunk.is_some())?;
        self.passes.push_back((size, pass));
        Ok(())
    }

    /// Takes the memory that steps need, so that a device that has too little says so now.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is not enough, or the device failed.
    pub async fn allocate(&mut self) -> Result<()> {
        if self.passes.is_empty() {
            self.select_pass(self.largest)?;
            self.penalty = penalty(self.peft.as_ref(), &self.model.context)?;
        }
        self.model.context.wait().await
    }

    /// Runs one optimizer step. The events are those that have arrived: a step's own comes with a later call, or with
    /// [`Trainer::flush`].
    ///
    /// # Errors
    /// [`Error::NonFinite`] after several skipped steps in a row; [`Error::Gpu`] when the device failed.
    pub async fn step(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        if self.passes.is_empty() {
            self.select_pass(self.largest)?;
            self.penalty = penalty(self.peft.as_ref(), &self.model.context)?;
        }
        if self.step == 0 {
            events.extend(self.evaluate_first().await?);
        }
        let context = self.model.context.clone();
        let (started, held_ms) = (now_ms(), context.turns().held_ms());
        if self.rollouts.is_some() && self.queue.is_empty() {
            self.roll_out(&mut events).await?;
        }
        let batches = self.next_batches();
        let target_tokens: usize = batches.iter().map(|batch| batch.target_tokens).sum();
        let submits = context.submits();
        context.clear(self.peft.params().grads.iter().chain([&self.total]));
        let mut stats = PlanStats::default();
        let mut compared = None;
        if self.comparison.is_some() {
            let (cost, outcome) = self.compare(&batches, &mut events).await?;
            (stats, compared) = (cost, Some(outcome));
        } else {
            for batch in &batches {
                self.select_pass(batch.size())?;
                let (_, pass) = self.passes.back().expect("just selected");
                let counter = [self.config.seed, self.micro_step];
                let known = self.trunk.as_mut().map(|trunk| trunk.hidden(batch)).transpose()?.flatten();
                stats =
                    stats + pass.run_from(batch, &sft::targets(batch, target_tokens), counter, known.as_deref()).await;
                self.micro_step = self.micro_step.wrapping_add(1);
                self.keep_trunk(batch, &mut events).await?;
            }
        }
        if let Some(penalty) = &self.penalty {
            stats = stats + penalty.run(0);
        }
        let learning_rate = self.schedule.rate(self.step);
        let (run, report) = self.optimizer.step(learning_rate, &self.total);
        self.peft.after_step(self.step, self.optimizer.state()).await?;
        // Uploads and clears are submits, too.
        self.stats = PlanStats { submits: context.submits() - submits, ..stats + run };
        self.step += 1;
        let tokens = batches.iter().map(|batch| batch.tokens).sum();
        let step = self.step;
        self.pending.push_back(Pending {
            step,
            learning_rate,
            tokens,
            target_tokens,
            started,
            held_ms,
            report,
            compared,
        });
        while self.pending.len() >= IN_FLIGHT {
            self.arrive(&mut events).await?;
        }
        let every = self.config.eval_steps as usize;
        if self.is_done() || (every > 0 && self.step.is_multiple_of(every)) {
            events.extend(self.flush().await?);
            self.evaluate_held_out(&mut events).await?;
            self.answer_samples(&mut events).await?;
        }
        Ok(events)
    }

    /// In reinforcement, where answers come from.
    pub fn rollouts(&mut self) -> Option<&mut Rollouts> {
        self.rollouts.as_mut()
    }

    /// Whether the objective compares with the model as it was before the run.
    pub fn needs_reference(&self) -> bool {
        self.needs.is_some_and(|needs| needs.reference)
    }

    /// Makes an adapter what answers are compared with, in place of the model without one: that which the run began from.
    pub fn refer_to(&mut self, reference: &Rc<dyn Peft>) {
        for comparison in [&mut self.comparison, &mut self.held_out_comparison].into_iter().flatten() {
            comparison.refer_to(reference.clone());
        }
    }

    /// The gradients of a step whose weights are found by what the model makes of it.
    async fn compare(&mut self, batches: &[Batch], events: &mut Vec<Event>) -> Result<(PlanStats, Compared)> {
        let mut comparison = self.comparison.take().expect("only for an objective that compares");
        let outcome = self.compare_with(&mut comparison, batches, events).await;
        self.comparison = Some(comparison);
        outcome
    }

    async fn compare_with(
        &mut self,
        comparison: &mut Comparison,
        batches: &[Batch],
        events: &mut Vec<Event>,
    ) -> Result<(PlanStats, Compared)> {
        let (model, peft) = (self.model.clone(), self.peft.clone());
        let needs = comparison.loss().needs();
        let group = self.config.objective.group();
        let numbers: Vec<usize> = batches.iter().flat_map(|batch| batch.examples.iter().copied()).collect();
        let max_length = self.dataset.layout().max_length;
        // These are plans of their own, and so come before a pass has begun.
        let baseline = {
            let rows: Vec<&Rendered> = numbers.iter().map(|&number| &self.dataset.examples()[number]).collect();
            let at_once = batches[0].examples.len();
            comparison.baseline(&model, Some(peft.as_ref()), &rows, at_once, max_length).await?
        };
        let targets_of = |number: &usize| self.dataset.targets(*number);
        let first_targets = numbers.iter().step_by(group).map(targets_of).sum();
        let tokens_of = |number: &usize| self.dataset.examples()[*number].target_tokens();
        let first_tokens = numbers.iter().step_by(group).map(tokens_of).sum();
        let all: usize = (0..self.dataset.examples().len()).map(|number| self.dataset.targets(number)).sum();
        let share = batches.len() as f64 / self.config.batches_of_generation() as f64;
        let (groups, rollout_tokens) = (numbers.len() / group, all as f64 * share);
        let step = Step { groups, first_targets, first_tokens, baseline, rollout_tokens };
        let (mut loss, mut metrics, mut stats) = (0.0, Metrics::default(), PlanStats::default());
        for batch in batches {
            let rows: Vec<Rendered> =
                batch.examples.iter().map(|&number| self.dataset.examples()[number].clone()).collect();
            let rows: Vec<&Rendered> = rows.iter().collect();
            let references = match self.rollouts {
                // What the reference makes of an answer is part of its rollout.
                Some(_) => vec![0.0; rows.len()],
                None => comparison.references(&model, &batch.examples, &rows).await?,
            };
            // Of answers that are masked, nothing is learnt.
            if batch.target_tokens == 0 {
                continue;
            }
            self.select_pass(batch.size())?;
            let (_, pass) = self.passes.back().expect("just selected");
            let counter = [self.config.seed, self.micro_step];
            let known = self.trunk.as_mut().map(|trunk| trunk.hidden(batch)).transpose()?.flatten();
            let targets = measure::unweighted(batch);
            stats = stats + pass.begin(batch, &targets, counter, known.as_deref()).await;
            let made = pass.made(targets.len()).await?;
            let mut sequences = measure::sequences(batch, &rows, needs, &made);
            sequences.iter_mut().zip(references).for_each(|(sequence, reference)| sequence.reference = reference);
            if let Some(rollouts) = &self.rollouts {
                let numbers = batch.examples.iter();
                sequences.iter_mut().zip(numbers).for_each(|(sequence, &number)| {
                    sequence.rollout = rollouts.rolled[number].rollout();
                });
            }
            let (part, slopes) = comparison.lose(&sequences, &step, &mut metrics);
            loss += part;
            stats = stats + pass.finish(&measure::found(&sequences, &slopes, needs)).await;
            self.micro_step = self.micro_step.wrapping_add(1);
            if self.rollouts.is_none() {
                self.num_tokens += batch.tokens as u64;
            }
            self.keep_trunk(batch, events).await?;
        }
        comparison.loss().finish(&step, &mut metrics);
        let mut metrics = metrics.to_json();
        metrics.append(&mut self.unsaid);
        events.extend(self.rollouts.as_mut().and_then(|rollouts| rollouts.watch.look_at_step(&metrics)));
        metrics.insert("num_tokens".into(), self.num_tokens.into());
        Ok((stats, Compared { loss, metrics }))
    }

    /// Keeps what the frozen lower blocks made of a batch, where there is room for it.
    async fn keep_trunk(&mut self, batch: &Batch, events: &mut Vec<Event>) -> Result<()> {
        let (_, pass) = self.passes.back().expect("it has just run");
        if let (Some(trunk), Some(hidden)) = (&mut self.trunk, pass.hidden())
            && trunk.wants(batch)
        {
            let context = &self.model.context;
            let hidden = context.read::<f32>(hidden, 0, batch.t * self.model.config.hidden).await?;
            if let Err(error) = trunk.keep(batch, &hidden) {
                let what = "what the lower layers make of the other examples is computed again in each epoch";
                events.push(Event::Warning { code: "trunk-cache", message: format!("{error}: {what}") });
            }
        }
        Ok(())
    }

    /// Waits for the steps on their way.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub async fn flush(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while !self.pending.is_empty() {
            self.arrive(&mut events).await?;
        }
        Ok(events)
    }

    async fn arrive(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(pending) = self.pending.pop_front() else { return Ok(()) };
        let outcome = self.optimizer.outcome(pending.report).await?;
        let held_ms = self.model.context.turns().held_ms() - pending.held_ms;
        let ms = (outcome.finished - pending.started.max(self.last_finished) - held_ms).max(0.0);
        self.last_finished = outcome.finished;
        if let Some(index) = outcome.skipped {
            let tensor = self.peft.params().tensors[index].name.clone();
            self.skips += 1;
            // A run of fewer steps that were all skipped has learnt nothing, either.
            if self.skips == SKIPS || self.skips == self.steps {
                return Err(Error::NonFinite {
                    step: pending.step,
                    tensor,
                    help: "lower learning_rate, or set max_grad_norm to 1".into(),
                });
            }
            events.push(Event::Warning {
                code: "non-finite",
                message: format!("step {}: the gradient of {tensor} is not finite; the step was skipped", pending.step),
            });
        } else {
            self.skips = 0;
        }
        let Compared { loss, metrics } =
            pending.compared.unwrap_or_else(|| Compared { loss: outcome.loss, metrics: Map::new() });
        self.last_loss = loss;
        if loss.is_finite() {
            self.unreported.0 += loss;
            self.unreported.1 += 1;
        }
        if pending.step.is_multiple_of(self.config.logging_steps as usize) || pending.step == self.steps {
            let (sum, count) = std::mem::take(&mut self.unreported);
            events.push(Event::Step {
                step: pending.step,
                loss: sum / count as f64,
                metrics,
                learning_rate: pending.learning_rate,
                grad_norm: outcome.skipped.is_none().then_some(f64::from(outcome.grad_norm)),
                tokens: pending.tokens,
                target_tokens: pending.target_tokens,
                ms,
            });
        }
        Ok(())
    }

    /// The run's last event; `path` is where the adapter went.
    pub fn done_event(&self, path: &str) -> Event {
        let best = self.best().filter(|best| self.took_best && best.step < self.step);
        Event::Done { steps: self.step, path: path.into(), loss: self.last_loss, best }
    }
}

/// Groups that are measured at a time where nothing is learnt: those of a step.
pub fn at_once(config: &RunConfig) -> usize {
    (config.per_device_train_batch_size * config.gradient_accumulation_steps) as usize
}
