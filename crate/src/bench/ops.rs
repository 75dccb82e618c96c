//! Each op of a decoder by itself, at the shapes of the model, described on a tape as the decoder does.

use serde::Serialize;

use super::peak::Peak;
use super::timing::{self, Timing};
use crate::Result;
use crate::clock::now_ms;
use crate::data::batch::mix;
use crate::gpu::{Context, Plan};
use crate::model::{FeedForward, Group, Inputs, Model, Module, Norm, NormPlace, Site};
use crate::ops::{Scoring, Targets, Weight};
use crate::peft::Peft;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};
use crate::train::Optimizer;

/// What one op makes of the adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpCost {
    /// The op, with the linear layers that have its shape.
    pub op: String,
    /// "forward", "backward", "both" where they cannot be told apart, or "step" of the optimizer.
    pub direction: &'static str,
    /// T; `None` of the optimizer, which has no rows.
    pub tokens: Option<usize>,
    /// How long it took.
    #[serde(flatten)]
    pub timing: Timing,
    /// 1e9 operations a second, of the fastest run, as the peak is; `None` of an op that only moves memory.
    pub gflops: Option<f64>,
    /// That as a share of [`Peak::gflops`].
    pub alu_share: Option<f64>,
    /// 1e9 bytes a second, of the fastest run, had each operand been read or written once.
    pub gbs: f64,
    /// That as a share of [`Peak::gbs`].
    pub copy_share: f64,
}

/// The least work that an op is.
#[derive(Clone, Copy)]
struct Work {
    operations: f64,
    bytes: f64,
}

/// Measures the ops of one model.
pub struct Ops<'a> {
    /// The frozen model.
    pub model: &'a Model,
    /// LoRA beside its linear layers.
    pub peft: &'a dyn Peft,
    /// What everything is a share of.
    pub peak: Peak,
}

/// An input `[rows, cols]` of an op.
type Leaf = (usize, usize);

impl Ops<'_> {
    fn context(&self) -> &Context {
        &self.model.context
    }

    fn cost(&self, op: &str, direction: &'static str, tokens: Option<usize>, timing: Timing, work: Work) -> OpCost {
        let gflops = (work.operations > 0.0).then(|| work.operations / timing.min_ms / 1e6);
        let gbs = work.bytes / timing.min_ms / 1e6;
        OpCost {
            op: op.into(),
            direction,
            tokens,
            timing,
            gflops,
            alu_share: gflops.map(|gflops| gflops / self.peak.gflops),
            gbs,
            copy_share: gbs / self.peak.gbs,
        }
    }

    /// Every op that has T rows, at T = `rows`.
    ///
    /// # Errors
    /// As [`Plan::new`] and [`Context::wait`]; and what `tell` says.
    pub async fn measure(&self, rows: usize, tell: &mut impl FnMut(OpCost) -> Result<()>) -> Result<()> {
        let (model, config) = (self.model, &self.model.config);
        let inputs = Inputs::new(self.context(), rows)?;
        let last = rows as u32;
        let positions: Vec<u32> = (0..last).collect();
        let ids: Vec<u32> = (0..rows as u64).map(|row| (mix(row) % config.vocab as u64) as u32).collect();
        self.context().write(&inputs.ids, 0, &ids);
        self.context().write(&inputs.positions, 0, &positions);
        let keys: Vec<[u32; 2]> = (0..last).map(|row| [0, row + 1]).collect();
        let queries: Vec<[u32; 2]> = (0..last).map(|row| [row, last]).collect();
        self.context().write(&inputs.masks.keys_of_row, 0, &keys);
        self.context().write(&inputs.masks.rows_of_key, 0, &queries);

        let layer = &model.layers[0];
        let (t, c, f) = (rows as f64, config.hidden, config.ffn);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        // Bytes of the activations that an op reads and writes, from their columns.
        let moved = |cols: usize| Work { operations: 0.0, bytes: 4.0 * t * cols as f64 };

        for group in Group::ALL {
            let modules = config.architecture.group(group);
            let names = modules.clone().map(Module::name).collect::<Vec<_>>().join(", ");
            let base = layer.linears(group);
            let weights = &base.weights;
            let outputs: usize = weights.iter().map(|weight| weight.rows).sum();
            let inner = weights[0].cols;
            let frozen = Work {
                operations: 2.0 * t * (outputs * inner) as f64,
                bytes: weights.iter().map(Weight::bytes).sum::<u64>() as f64 + 4.0 * t * (outputs + inner) as f64,
            };
            let leaf = &[(rows, inner)];
            let run = |t: &mut Tape, x: &[Var]| base.apply(t, x[0], None, None);
            self.op(&format!("linear {names}"), leaf, [frozen; 2], run, tell).await?;

            let site = Site { layer: 0, group, counter: None };
            let paths: Vec<String> = modules.map(|module| format!("{}.", module.path_in(0))).collect();
            let of_group = |name: &str| paths.iter().any(|path| name.contains(path));
            let tensors = self.peft.params().tensors.iter().filter(|tensor| of_group(&tensor.name));
            let adapter: usize = tensors.map(|tensor| tensor.count()).sum();
            // Two products a parameter backward, to the matrix and through it; its gradient is read and written.
            let tuned = [(2.0, 4.0), (4.0, 12.0)].map(|(operations, bytes)| Work {
                operations: frozen.operations + operations * t * adapter as f64,
                bytes: frozen.bytes + bytes * adapter as f64,
            });
            let run = |t: &mut Tape, x: &[Var]| self.peft.linears(t, site, x[0], base, None);
            self.op(&format!("linear + LoRA {names}"), leaf, tuned, run, tell).await?;
        }

        // Half of all pairs are seen. Forward two products of them, backward five, as FlashAttention counts.
        let [forward, backward] = [(2.0, 2 * q + 2 * kv), (5.0, 4 * q + 4 * kv)]
            .map(|(products, cols)| Work { operations: products * t * t * q as f64, ..moved(cols) });
        let attend =
            |t: &mut Tape, x: &[Var]| t.attention(x[0], None, config.heads(), Scoring::default(), &inputs.masks);
        self.op("attention", &[(rows, q + 2 * kv)], [forward, backward], attend, tell).await?;

        self.head(rows, tell).await?;

        let normed = [moved(2 * c), moved(3 * c)];
        let gain = &model.norm(Norm::Block(0, NormPlace::FeedForward)).gain;
        let norm = |t: &mut Tape, x: &[Var]| t.rms_norm(x[0], gain, config.norm_kind());
        self.op("rms_norm", &[(rows, c)], normed, norm, tell).await?;
        if let Some(rotations) = model.rotations(0) {
            let rotate = |t: &mut Tape, x: &[Var]| t.rope(x[0], q + kv, &inputs.positions, rotations);
            self.op("rope", &[(rows, q + 2 * kv)], [moved(2 * q + 4 * kv); 2], rotate, tell).await?;
        }
        match config.architecture.feed_forward {
            FeedForward::Gated(gate) => {
                let traffic = [moved(3 * f), moved(5 * f)];
                self.op("swiglu", &[(rows, 2 * f)], traffic, |t, x| t.gated(gate, x[0]), tell).await?;
            }
            FeedForward::Plain(function) => {
                let traffic = [moved(2 * f), moved(3 * f)];
                self.op("activation", &[(rows, f)], traffic, |t, x| t.activation(x[0], function), tell).await?;
            }
        }
        // Backward both inputs get the gradient.
        self.op("add", &[(rows, c), (rows, c)], [moved(3 * c); 2], |t, x| t.add(x[0], x[1]), tell).await?;

        let mut tape = Tape::new(self.context());
        let embedded = tape.embed(rows, &inputs.ids, &model.embedding, 1.0, None);
        // A result that nobody reads would not be computed.
        tape.keep(embedded, &self.context().buffer("embedded", (rows * c * 4) as u64)?);
        let timing = timing::of_plan(self.context(), &tape.finish(self.context())?, 0).await?;
        let row_bytes = model.embedding.bytes() as f64 / config.vocab as f64;
        let work = Work { operations: 0.0, bytes: t * (row_bytes + 4.0 * c as f64) };
        tell(self.cost("embed", "forward", Some(rows), timing, work))
    }

    /// One op on leaves of random numbers, forward and then backward; `work` is that of each.
    async fn op(
        &self,
        name: &str,
        leaves: &[Leaf],
        work: [Work; 2],
        record: impl Fn(&mut Tape, &[Var]) -> Var,
        tell: &mut impl FnMut(OpCost) -> Result<()>,
    ) -> Result<()> {
        for (direction, work) in ["forward", "backward"].into_iter().zip(work) {
            let backward = direction == "backward";
            let (plan, rows) = self.plan(leaves, backward, &record)?;
            // The forward is behind a gate: it makes once what the backward reads.
            plan.run(1);
            let timing = timing::of_plan(self.context(), &plan, usize::from(!backward)).await?;
            tell(self.cost(name, direction, Some(rows), timing, work))?;
        }
        Ok(())
    }

    fn plan(
        &self,
        leaves: &[Leaf],
        backward: bool,
        record: &impl Fn(&mut Tape, &[Var]) -> Var,
    ) -> Result<(Plan, usize)> {
        let context = self.context();
        let mut t = Tape::new(self.context());
        let mut inputs = Vec::new();
        for (index, &(rows, cols)) in leaves.iter().enumerate() {
            let x = t.leaf(rows, cols, &context.buffer_with("x", &random(index as u64, rows * cols))?, None);
            if backward {
                t.require_grad(x);
            }
            inputs.push(x);
        }
        t.list.open_gate(0);
        let y = record(&mut t, &inputs);
        t.list.close_gate();
        t.keep(y, &context.buffer("y", t.count(y) as u64 * 4)?);
        if backward {
            t.seed_grad(y, &context.buffer_with("dy", &random(leaves.len() as u64, t.count(y)))?);
            t.backward();
            // What nobody reads is not computed.
            for (&x, &(rows, cols)) in inputs.iter().zip(leaves) {
                let dx = t.grad(x);
                t.list.keep(dx, &context.buffer("dx", (rows * cols) as u64 * 4)?);
            }
        }
        let rows = t.rows(y);
        Ok((t.finish(context)?, rows))
    }

    /// The language-model head with its loss, every row with a target. The gradient is made together with the loss.
    async fn head(&self, rows: usize, tell: &mut impl FnMut(OpCost) -> Result<()>) -> Result<()> {
        let (context, head) = (self.context(), self.model.head());
        let targets = Targets::new(context, rows, head.rows)?;
        let weight = 1.0 / rows as f32;
        let labels: Vec<(u32, u32, f32)> =
            (0..rows as u32).map(|row| (row, (mix(row.into()) % head.rows as u64) as u32, weight)).collect();
        let gates = targets.write(context, &labels);
        let values = context.buffer_with("x", &random(0, rows * head.cols))?;
        for (direction, products) in [("forward", 1.0), ("both", 2.0)] {
            let train = direction == "both";
            let mut t = Tape::new(self.context());
            let x = t.leaf(rows, head.cols, &values, None);
            if train {
                t.require_grad(x);
            }
            t.cross_entropy(x, head, &targets, train);
            if train {
                let dx = t.grad(x);
                t.list.keep(dx, &context.buffer("dx", (rows * head.cols) as u64 * 4)?);
            }
            let timing = timing::of_plan(context, &t.finish(context)?, gates).await?;
            let work = Work {
                operations: products * 2.0 * rows as f64 * (head.rows * head.cols) as f64,
                bytes: products * (head.bytes() as f64 + 4.0 * (rows * head.cols) as f64),
            };
            tell(self.cost("head and loss", direction, Some(rows), timing, work))?;
        }
        Ok(())
    }

    /// The optimizer's step over all parameters.
    ///
    /// # Errors
    /// As [`Ops::measure`].
    pub async fn optimizer(&self, config: &RunConfig) -> Result<OpCost> {
        let params = self.peft.params();
        let mut optimizer = Optimizer::new(self.context(), params, config)?;
        let loss = self.context().buffer("loss", 4)?;
        let mut times = Vec::new();
        for _ in 0..12 {
            let started = now_ms();
            // At a rate of zero nothing moves.
            let (_, report) = optimizer.step(0.0, &loss);
            optimizer.outcome(report).await?;
            times.push(now_ms() - started);
        }
        // The norm reads the gradients; AdamW reads four numbers a parameter and writes three.
        let work = Work { operations: 0.0, bytes: 8.0 * params.bytes() as f64 };
        // The first two compile and touch memory for the first time.
        Ok(self.cost("optimizer", "step", None, Timing::of(times.split_off(2)), work))
    }
}

/// Numbers in [-1, 1).
fn random(stream: u64, count: usize) -> Vec<f32> {
    let number = |i| (mix(stream << 40 ^ i) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..count as u64).map(number).collect()
}
