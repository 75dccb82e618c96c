//! What a step of training costs, and the forward pass alone.

use serde::Serialize;

use super::timing::Timing;
use crate::Result;
use crate::clock::{now_ms, processor_ms};
use crate::data::batch::{Batch, Dataset, Layout, mix};
use crate::data::render::Rendered;
use crate::gpu::{KernelTime, PlanStats};
use crate::model::Model;
use crate::objective::sft;
use crate::peft::Peft;
use crate::settings::config::{Recompute, RunConfig};
use crate::train::{Optimizer, Pass};

/// What a step, or a forward pass, costs at T rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepCost {
    /// T.
    pub tokens: usize,
    /// Rows that must predict: all but the last, which has no next token.
    pub target_tokens: usize,
    /// From the first upload to the last result read back.
    #[serde(flatten)]
    pub timing: Timing,
    /// Of that, until all commands are encoded, submits not counted; in the median.
    pub encode_ms: f64,
    /// Until everything is submitted, in the median. Of a driver that does the work inside submits, nearly all.
    pub submitted_ms: f64,
    /// Processor time of all threads a run: of a software adapter, what a busy machine changes least. `None` where the
    /// system does not tell.
    pub processor_ms: Option<f64>,
    /// T a second, in the median.
    pub tokens_per_second: f64,
    /// 1e9 operations a second that the mathematics takes, in the median.
    pub gflops: f64,
    /// That as a share of the peak.
    pub alu_share: f64,
    /// Dispatches encoded.
    pub dispatches: usize,
    /// Command buffers submitted.
    pub submits: usize,
    /// Bytes of activations that the plan has.
    pub planned_bytes: u64,
    /// Bytes of all buffers on the device meanwhile; `None` where the backend does not tell.
    pub allocated_bytes: Option<u64>,
    /// The loss of the last run, in nats: near ln V for made-up weights.
    pub loss: f64,
}

/// Where the time of a step goes, or of a token of generation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// "step" or "decode".
    pub part: &'static str,
    /// T, or the sequences at once.
    pub tokens: usize,
    /// All dispatches, one after the other.
    pub ms: f64,
    /// By kernel, the slowest first.
    pub kernels: Vec<KernelTime>,
}

impl Profile {
    pub(super) fn new(part: &'static str, tokens: usize, mut kernels: Vec<KernelTime>) -> Self {
        kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Self { part, tokens, ms: kernels.iter().map(|kernel| kernel.ms).sum(), kernels }
    }
}

/// Trains one model on one batch that is all targets: the most work that T rows can be.
pub struct Steps<'a> {
    model: &'a Model,
    peft: &'a dyn Peft,
    optimizer: Optimizer,
    /// Steps that are timed.
    runs: usize,
    peak_gflops: f64,
}

const LEARNING_RATE: f64 = 1e-4;

impl<'a> Steps<'a> {
    /// Prepares for `runs` timed steps at each T, at least one.
    ///
    /// # Errors
    /// As [`Optimizer::new`].
    pub fn new(
        model: &'a Model,
        peft: &'a dyn Peft,
        config: &RunConfig,
        runs: usize,
        peak_gflops: f64,
    ) -> Result<Self> {
        let optimizer = Optimizer::new(&model.context, peft.params(), config)?;
        Ok(Self { model, peft, optimizer, runs, peak_gflops })
    }

    /// Whole steps of T = `rows` (forward, backward, optimizer), and forward passes with their loss, in turns, so that a
    /// machine that gets busier meanwhile changes both. Then one more step, kernel by kernel.
    ///
    /// # Errors
    /// As [`Pass::new`] and [`Optimizer::outcome`].
    pub async fn measure(&mut self, rows: usize) -> Result<(StepCost, StepCost, Profile)> {
        let model = self.model;
        let batch = self.batch(rows);
        let targets = sft::targets(&batch, batch.target_tokens);
        let peft = self.peft;
        let pass = |training| Pass::new(model, Some(peft), batch.size(), training);
        // The first run compiles kernels and touches memory for the first time. Each is alone on the device in it.
        let evaluation = pass(None)?;
        let mut forwards = Runs::default();
        self.forward(&evaluation, &batch, &targets).await?;
        forwards.allocated_bytes = model.context.allocated_bytes();
        drop(evaluation);
        let training = pass(Some(Recompute::None))?;
        let mut steps = Runs::default();
        self.step(&training, &batch, &targets).await?;
        steps.allocated_bytes = model.context.allocated_bytes();
        let evaluation = pass(None)?;
        for _ in 0..self.runs {
            steps.runs.push(self.step(&training, &batch, &targets).await?);
            forwards.runs.push(self.forward(&evaluation, &batch, &targets).await?);
        }
        let mut kernels = training.profile(&batch, &targets, [0, 0]).await?;
        kernels.extend(self.optimizer.profile(LEARNING_RATE).await?);
        let profile = Profile::new("step", rows, kernels);
        Ok((self.cost(&batch, steps, true), self.cost(&batch, forwards, false), profile))
    }

    async fn step(&mut self, pass: &Pass, batch: &Batch, targets: &[(u32, u32, f32)]) -> Result<Run> {
        let context = &self.model.context;
        let clock = Clock::start();
        let submits = context.submits();
        context.clear(self.peft.params().grads.iter().chain([&pass.targets.total]));
        let mut stats = pass.run(batch, targets, [0, 0]);
        let (more, report) = self.optimizer.step(LEARNING_RATE, &pass.targets.total);
        let submitted_ms = clock.ms();
        let loss = self.optimizer.outcome(report).await?.loss;
        stats.dispatches += more.dispatches;
        stats.submits = context.submits() - submits;
        stats.encode_ms += more.encode_ms;
        Ok(Run { ms: clock.ms(), processor_ms: clock.processor_ms(), submitted_ms, stats, loss })
    }

    async fn forward(&self, pass: &Pass, batch: &Batch, targets: &[(u32, u32, f32)]) -> Result<Run> {
        let context = &self.model.context;
        let clock = Clock::start();
        context.clear([&pass.targets.total]);
        let stats = pass.run(batch, targets, [0, 0]);
        let loss = context.read_later::<f32>(&pass.targets.total, 0, 1);
        let submitted_ms = clock.ms();
        let loss = f64::from(loss.wait::<f32>().await?[0]);
        Ok(Run { ms: clock.ms(), processor_ms: clock.processor_ms(), submitted_ms, stats, loss })
    }

    /// One example of random ids that fills T rows.
    fn batch(&self, rows: usize) -> Batch {
        let vocab = self.model.config.vocab;
        let ids = (0..rows as u64).map(|row| (mix(row) % vocab as u64) as u32).collect();
        let example = Rendered { ids, targets: vec![true; rows], ..Rendered::default() };
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 1,
            max_length: rows,
            virtual_tokens: 0,
            vocab_size: vocab,
        };
        Dataset::new(vec![example], layout).batch(&[0])
    }

    fn cost(&self, batch: &Batch, runs: Runs, training: bool) -> StepCost {
        let median = |of: fn(&Run) -> f64| Timing::of(runs.runs.iter().map(of).collect());
        let (timing, last) = (median(|run| run.ms), runs.runs.last().expect("at least one run"));
        let processor: Option<f64> = runs.runs.iter().map(|run| run.processor_ms).sum();
        let gflops = operations(self.model, self.peft.params().count(), batch.t, training) / timing.ms / 1e6;
        StepCost {
            tokens: batch.t,
            target_tokens: batch.target_tokens,
            timing,
            encode_ms: median(|run| run.stats.encode_ms).ms,
            submitted_ms: median(|run| run.submitted_ms).ms,
            processor_ms: processor.map(|all| all / timing.runs as f64),
            tokens_per_second: batch.t as f64 / timing.ms * 1e3,
            gflops,
            alu_share: gflops / self.peak_gflops,
            dispatches: last.stats.dispatches,
            submits: last.stats.submits,
            planned_bytes: last.stats.arena_bytes,
            allocated_bytes: runs.allocated_bytes,
            loss: last.loss,
        }
    }
}

/// Both clocks, from one moment on.
struct Clock {
    started: f64,
    processor: Option<f64>,
}

impl Clock {
    fn start() -> Self {
        Self { processor: processor_ms(), started: now_ms() }
    }

    fn ms(&self) -> f64 {
        now_ms() - self.started
    }

    fn processor_ms(&self) -> Option<f64> {
        Some(processor_ms()? - self.processor?)
    }
}

/// One step, or one forward pass.
struct Run {
    ms: f64,
    processor_ms: Option<f64>,
    submitted_ms: f64,
    stats: PlanStats,
    loss: f64,
}

/// Those that count, and the bytes on the device in the one before them.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    allocated_bytes: Option<u64>,
}

/// Floating-point operations of T rows, a multiplication and an addition for each weight and row: frozen weights once
/// forward and once for the gradient of what goes in, adapters once more for their own; attention over half the pairs,
/// two products forward and five backward.
fn operations(model: &Model, adapter: usize, rows: usize, training: bool) -> f64 {
    let config = &model.config;
    let block: usize =
        config.architecture.modules().map(|module| config.shape(module)).map(|(rows, cols)| rows * cols).sum();
    let frozen = (config.layers * block + config.vocab * config.hidden) as f64;
    let attention = (config.layers * config.heads * config.head_dim * rows) as f64;
    let (passes, adapter_passes, products) = if training { (2.0, 3.0, 7.0) } else { (1.0, 1.0, 2.0) };
    rows as f64 * (2.0 * passes * frozen + 2.0 * adapter_passes * adapter as f64 + products * attention)
}
