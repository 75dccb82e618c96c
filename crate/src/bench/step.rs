//! What a step of training costs, and the forward pass alone.

use serde::Serialize;

use super::timing::Timing;
use crate::Result;
use crate::clock::{now_ms, processor_ms};
use crate::data::batch::{Batch, Dataset, Layout, mix};
use crate::data::render::Rendered;
use crate::gpu::{KernelTime, PlanStats};
use crate::model::{Model, Module};
use crate::objective::sft;
use crate::peft::Peft;
use crate::train::config::RunConfig;
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

/// Where a step's time goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// T.
    pub tokens: usize,
    /// All dispatches, one after the other.
    pub ms: f64,
    /// By kernel, the slowest first.
    pub kernels: Vec<KernelTime>,
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
    /// Prepares for `runs` timed steps at each T.
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

    /// Whole steps of T = `rows`: forward, backward, optimizer. Then one more, kernel by kernel.
    ///
    /// # Errors
    /// As [`Pass::new`] and [`Optimizer::outcome`].
    pub async fn step(&mut self, rows: usize) -> Result<(StepCost, Profile)> {
        let context = self.model.context.clone();
        let batch = self.batch(rows);
        let targets = sft::targets(&batch, batch.target_tokens);
        let pass = Pass::new(self.model, Some(self.peft), rows, true)?;
        let mut runs = Runs::default();
        for run in 0..=self.runs {
            let started = now_ms();
            context.clear(&self.peft.params().grads);
            context.clear(&pass.targets.total);
            let mut stats = pass.run(&batch, &targets, [0, run as u32]);
            let loss = context.read_later::<f32>(&pass.targets.total, 0, 1);
            let (more, report) = self.optimizer.step(LEARNING_RATE);
            let submitted_ms = now_ms() - started;
            self.optimizer.outcome(report).await?;
            let ms = now_ms() - started;
            stats.dispatches += more.dispatches;
            stats.submits += more.submits;
            stats.encode_ms += more.encode_ms;
            runs.loss = f64::from(loss.wait::<f32>().await?[0]);
            runs.stats = stats;
            runs.push(run, ms, submitted_ms);
        }
        let cost = self.cost(&batch, runs, true);
        let mut kernels = pass.profile(&batch, &targets, [0, 0]).await?;
        kernels.extend(self.optimizer.profile(LEARNING_RATE).await?);
        kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let ms = kernels.iter().map(|kernel| kernel.ms).sum();
        Ok((cost, Profile { tokens: rows, ms, kernels }))
    }

    /// Forward passes of T = `rows` with their loss, and nothing that a gradient needs.
    ///
    /// # Errors
    /// As [`Pass::new`] and [`crate::gpu::Context::read`].
    pub async fn forward(&self, rows: usize) -> Result<StepCost> {
        let context = &self.model.context;
        let batch = self.batch(rows);
        let targets = sft::targets(&batch, batch.target_tokens);
        let pass = Pass::new(self.model, Some(self.peft), rows, false)?;
        let mut runs = Runs::default();
        for run in 0..=self.runs {
            let started = now_ms();
            context.clear(&pass.targets.total);
            runs.stats = pass.run(&batch, &targets, [0, run as u32]);
            let loss = context.read_later::<f32>(&pass.targets.total, 0, 1);
            let submitted_ms = now_ms() - started;
            runs.loss = f64::from(loss.wait::<f32>().await?[0]);
            runs.push(run, now_ms() - started, submitted_ms);
        }
        Ok(self.cost(&batch, runs, false))
    }

    /// One example of random ids that fills T rows.
    fn batch(&self, rows: usize) -> Batch {
        let vocab = self.model.config.vocab;
        let ids = (0..rows as u64).map(|row| (mix(row) % vocab as u64) as u32).collect();
        let example = Rendered { ids, targets: vec![true; rows], truncated: false };
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
        let processor_ms = runs.processor_ms();
        let timing = Timing::of(runs.times);
        let gflops = operations(self.model, self.peft.params().count(), batch.t, training) / timing.ms / 1e6;
        StepCost {
            tokens: batch.t,
            target_tokens: batch.target_tokens,
            timing,
            encode_ms: Timing::of(runs.encoding).ms,
            submitted_ms: Timing::of(runs.submitted).ms,
            processor_ms,
            tokens_per_second: batch.t as f64 / timing.ms * 1e3,
            gflops,
            alu_share: gflops / self.peak_gflops,
            dispatches: runs.stats.dispatches,
            submits: runs.stats.submits,
            planned_bytes: runs.stats.arena_bytes,
            allocated_bytes: self.model.context.allocated_bytes(),
            loss: runs.loss,
        }
    }
}

#[derive(Default)]
struct Runs {
    times: Vec<f64>,
    encoding: Vec<f64>,
    submitted: Vec<f64>,
    processor_began: Option<f64>,
    processor_ended: Option<f64>,
    stats: PlanStats,
    loss: f64,
}

impl Runs {
    /// The first, number 0, compiles kernels and touches memory for the first time: it does not count.
    fn push(&mut self, run: usize, ms: f64, submitted_ms: f64) {
        let processor = processor_ms();
        if run == 0 {
            self.processor_began = processor;
            return;
        }
        self.processor_ended = processor;
        self.times.push(ms);
        self.encoding.push(self.stats.encode_ms);
        self.submitted.push(submitted_ms);
    }

    fn processor_ms(&self) -> Option<f64> {
        Some((self.processor_ended? - self.processor_began?) / self.times.len() as f64)
    }
}

/// Floating-point operations of T rows, a multiplication and an addition for each weight and row: frozen weights once
/// forward and once for the gradient of what goes in, adapters once more for their own; attention over half the pairs,
/// two products forward and five backward.
fn operations(model: &Model, adapter: usize, rows: usize, training: bool) -> f64 {
    let config = &model.config;
    let block: usize = Module::ALL.iter().map(|module| module.shape(config)).map(|(rows, cols)| rows * cols).sum();
    let frozen = (config.layers * block + config.vocab * config.hidden) as f64;
    let attention = (config.layers * config.heads * config.head_dim * rows) as f64;
    let (passes, adapter_passes, products) = if training { (2.0, 3.0, 7.0) } else { (1.0, 1.0, 2.0) };
    rows as f64 * (2.0 * passes * frozen + 2.0 * adapter_passes * adapter as f64 + products * attention)
}
