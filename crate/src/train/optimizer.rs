//! AdamW with global-norm clipping, on the device. Weight decay leaves biases and the gains of norms alone.

use crate::Result;
use crate::gpu::{Buffer, Context, KernelTime, Plan, PlanStats, Readback, Recorder};
use crate::ops::{DECAY_BLOCK, Hyper, PIECE, record_step};
use crate::peft::Parameters;
use crate::settings::config::RunConfig;

/// The optimizer's state and its plan.
pub struct Optimizer {
    context: Context,
    plan: Plan,
    m: Vec<Buffer>,
    v: Vec<Buffer>,
    hyper: Buffer,
    state: Buffer,
    sums: Buffer,
    /// Index of the tensor that each piece belongs to.
    owners: Vec<usize>,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    /// Steps so far, for the bias correction. A skipped one counts too: the next is on its way before that is known.
    pub updates: u32,
}

/// What an optimizer step reports, on its way.
pub struct StepReport(Readback);

/// What an optimizer step did.
pub struct StepOutcome {
    /// Global norm of the gradient before clipping.
    pub grad_norm: f32,
    /// The tensor whose gradient was not finite, if any: then nothing moved.
    pub skipped: Option<usize>,
    /// The loss that was read along.
    pub loss: f64,
    /// The moment at which the device was done with it, by [`crate::clock::now_ms`].
    pub finished: f64,
}

impl Optimizer {
    /// Zero moments for these parameters.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, params: &Parameters, config: &RunConfig) -> Result<Self> {
        let mut pieces: Vec<[u32; 2]> = Vec::new();
        let mut owners = Vec::new();
        let mut sizes: Vec<_> = params.values.iter().map(|buffer| ((buffer.size() / 4) as usize, 0)).collect();
        for (index, (buffer, offset, len)) in params.ranges().enumerate() {
            for start in (0..len).step_by(PIECE) {
                pieces.push([(offset + start) as u32, (len - start).min(PIECE) as u32]);
                owners.push(index);
                sizes[buffer].1 += 1;
            }
        }
        let m = params.like("first moments")?;
        let v = params.like("second moments")?;
        let decays = decays(params).into_iter().map(|words| context.buffer_with("weight decay", &words));
        let decays: Vec<Buffer> = decays.collect::<Result<_>>()?;
        let table = context.buffer_with("gradient pieces", &pieces)?;
        let sums = context.buffer("gradient norms", pieces.len() as u64 * 4)?;
        let hyper = context.buffer("hyperparameters", 32)?;
        let state = context.buffer("optimizer state", 8)?;
        let mut list = Recorder::new(context);
        let buffers = Hyper {
            values: &params.values,
            grads: &params.grads,
            m: &m,
            v: &v,
            decays: &decays,
            pieces: &table,
            sums: &sums,
            hyper: &hyper,
            state: &state,
        };
        record_step(&mut list, &buffers, &sizes);
        Ok(Self {
            context: context.clone(),
            plan: Plan::new(context, list)?,
            m,
            v,
            hyper,
            state,
            sums,
            owners,
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            eps: config.adam_epsilon,
            weight_decay: config.weight_decay,
            max_grad_norm: config.max_grad_norm,
            updates: 0,
        })
    }

    /// Runs one step on the gradients as they stand. The report brings along the number in `loss`.
    pub fn step(&mut self, learning_rate: f64, loss: &Buffer) -> (PlanStats, StepReport) {
        self.upload(learning_rate);
        let stats = self.plan.run(0);
        let report = self.context.read_firsts(&[(loss, 1), (&self.state, 2), (&self.sums, self.owners.len())]);
        (stats, StepReport(report))
    }

    /// As [`Optimizer::step`], one dispatch after the other, each of them timed.
    ///
    /// # Errors
    /// As [`Plan::profile`].
    pub async fn profile(&mut self, learning_rate: f64) -> Result<Vec<KernelTime>> {
        self.upload(learning_rate);
        self.plan.profile(0).await
    }

    /// The numbers of the next step.
    fn upload(&mut self, learning_rate: f64) {
        self.updates += 1;
        let t = f64::from(self.updates);
        let hyper = [
            self.max_grad_norm,
            learning_rate,
            1.0 - self.beta1,
            1.0 - self.beta2,
            self.eps,
            self.weight_decay,
            1.0 - self.beta1.powf(t),
            (1.0 - self.beta2.powf(t)).sqrt(),
        ];
        self.context.write(&self.hyper, 0, &hyper.map(|value| value as f32));
    }

    /// Waits for a step's report.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn outcome(&self, report: StepReport) -> Result<StepOutcome> {
        let (all, finished): (Vec<f32>, f64) = report.0.wait_timed().await?;
        let (loss, grad_norm, factor, sums) = (all[0], all[1], all[2], &all[3..]);
        let skipped = (factor == 0.0).then(|| {
            let piece = sums.iter().position(|sum| !sum.is_finite());
            // Finite pieces whose total overflows: the largest is to blame.
            let largest = || (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b])).unwrap_or(0);
            self.owners[piece.unwrap_or_else(largest)]
        });
        Ok(StepOutcome { grad_norm, skipped, loss: f64::from(loss), finished })
    }

    /// Norm and clip factor of the last step, on the device.
    pub fn state(&self) -> &Buffer {
        &self.state
    }

    /// First and second moments, laid out like the values.
    pub fn moments(&self) -> (&[Buffer], &[Buffer]) {
        (&self.m, &self.v)
    }
}

/// See [`Hyper::decays`].
fn decays(params: &Parameters) -> Vec<Vec<u32>> {
    let words = |buffer: &Buffer| (buffer.size() / 4).div_ceil(32 * DECAY_BLOCK as u64) as usize;
    let mut decays: Vec<_> = params.values.iter().map(|buffer| vec![0; words(buffer)]).collect();
    for (tensor, (buffer, offset, len)) in params.tensors.iter().zip(params.ranges()) {
        if tensor.decays() {
            for block in offset / DECAY_BLOCK..(offset + len).div_ceil(DECAY_BLOCK) {
                decays[buffer][block / 32] |= 1 << (block % 32);
            }
        }
    }
    decays
}
