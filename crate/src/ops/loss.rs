//! The language-model head and its cross-entropy, a few rows at a time: the logits are never whole in memory.

use std::ops::Range;

use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, kernels, spread};
use crate::model::Weight;
use crate::tape::{Op, Tape, Var};

/// Rows of logits in memory at a time.
pub const LOSS_ROWS: usize = 64;

/// The rows that the head takes at a time. The first ones are few, for the examples with a word for an answer.
pub fn loss_chunks(capacity: usize) -> impl Iterator<Item = Range<usize>> {
    let small = [0..LOSS_ROWS / 4, LOSS_ROWS / 4..LOSS_ROWS / 2, LOSS_ROWS / 2..LOSS_ROWS];
    let large = (1..capacity / LOSS_ROWS).map(|i| i * LOSS_ROWS..(i + 1) * LOSS_ROWS);
    small.into_iter().chain(large)
}

/// What the rows of a batch must predict, and where the losses go. Only rows with a target are listed, side by side,
/// so that one of the [`loss_chunks`] without targets is a closed gate of the plan and costs nothing.
#[derive(Clone)]
pub struct Targets {
    /// `[capacity]`: the batch row of each target; a number past T pads.
    pub rows: Buffer,
    /// `[capacity]`: the id to predict; a number past V pads.
    pub labels: Buffer,
    /// `[capacity]`: weight of each target in the loss; 0 pads.
    pub weights: Buffer,
    /// `[capacity]`: the negative log-likelihood of each target, in nats.
    pub nll: Buffer,
    /// One number: the weighted losses of every plan run since it was cleared.
    pub total: Buffer,
    /// T rounded up to whole chunks.
    pub capacity: usize,
}

impl Targets {
    /// Buffers for batches of up to `rows` rows.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, rows: usize) -> Result<Self> {
        let capacity = rows.next_multiple_of(LOSS_ROWS);
        let buffer = |what| context.buffer(what, capacity as u64 * 4);
        Ok(Self {
            rows: buffer("target rows")?,
            labels: buffer("labels")?,
            weights: buffer("target weights")?,
            nll: buffer("losses")?,
            total: context.buffer("loss", 4)?,
            capacity,
        })
    }

    /// Uploads one batch: `targets` are (row, label, weight). Returns the gates to open.
    pub fn write(&self, context: &Context, targets: &[(u32, u32, f32)]) -> usize {
        let padded = |pad: u32, get: fn(&(u32, u32, f32)) -> u32| -> Vec<u32> {
            let mut values: Vec<u32> = targets.iter().map(get).collect();
            values.resize(self.capacity, pad);
            values
        };
        context.write(&self.rows, 0, &padded(u32::MAX, |target| target.0));
        context.write(&self.labels, 0, &padded(u32::MAX, |target| target.1));
        context.write(&self.weights, 0, &padded(0, |target| target.2.to_bits()));
        loss_chunks(self.capacity).filter(|chunk| chunk.start < targets.len()).count()
    }
}

struct Head {
    x: Var,
    rows: BufferId,
    /// `[rows, C]` of each chunk: the gradients of the gathered rows, made together with the losses.
    dx: Vec<BufferId>,
    capacity: usize,
}

impl Tape<'_> {
    /// Adds `sum_i weights[i] nll_i` to the targets' total, where `nll_i` is the cross-entropy of row `rows[i]` of
    /// `x w^T` against `labels[i]`. x: `[T, C]`; w: `[V, C]`. With `train`, the gradients of that sum are made
    /// at once, to x and to a trainable w.
    pub fn cross_entropy(&mut self, x: Var, w: &Weight, targets: &Targets, train: bool) {
        let (capacity, channels, vocab) = (targets.capacity, w.cols, w.rows);
        let train_x = train && self.needs_grad(x);
        let rows = self.list.fixed(&targets.rows);
        let labels = self.list.fixed(&targets.labels);
        let weights = self.list.fixed(&targets.weights);
        let nll = self.list.fixed(&targets.nll);
        let total = self.list.fixed(&targets.total);
        let mut dx = Vec::new();
        for (gate, chunk) in loss_chunks(capacity).enumerate() {
            let (first, len) = (chunk.start, chunk.len());
            self.list.open_gate(gate);
            let gathered = self.list.planned(len * channels);
            let logits = self.list.planned(len * vocab);
            let count = len * channels;
            let params = kernels::loss_gather::Params {
                channels: channels as u32,
                rows: self.rows(x) as u32,
                first: first as u32,
                count: count as u32,
            };
            let bindings = [self.value(x).into(), rows.into(), gathered.into()];
            self.list.dispatch(&kernels::LOSS_GATHER, &bindings, &params, spread(count));
            self.product_nt(len, gathered.into(), w, logits.into());
            let params = kernels::loss_cross_entropy::Params { vocab: vocab as u32, first: first as u32 };
            let bindings = [labels.into(), weights.into(), logits.into(), nll.into()];
            self.list.dispatch(&kernels::LOSS_CROSS_ENTROPY, &bindings, &params, [len as u32, 1, 1]);
            // All of it within the gate: the next chunk's logits may lie where these do.
            if train {
                self.product_gradient(len, logits, gathered, w);
            }
            if train_x {
                let piece = self.list.planned(count);
                self.product_nn(len, logits.into(), w, piece.into());
                dx.push(piece);
            }
            self.list.close_gate();
        }
        let params = kernels::loss_total::Params { count: capacity as u32 };
        let bindings = [weights.into(), nll.into(), total.into()];
        self.list.dispatch(&kernels::LOSS_TOTAL, &bindings, &params, [1, 1, 1]);
        self.push(Head { x, rows, dx, capacity }, train_x);
    }
}

impl Tape<'_> {
    /// The logits `[V]` of the row of `x` that `row` (one u32) names, into `out`: the head of generation.
    pub fn row_logits(&mut self, x: Var, w: &Weight, row: &Buffer, out: &Buffer) {
        let (row, out) = (self.list.fixed(row), self.list.fixed(out));
        let gathered = self.list.planned(w.cols);
        let params = kernels::loss_gather::Params {
            channels: w.cols as u32,
            rows: self.rows(x) as u32,
            first: 0,
            count: w.cols as u32,
        };
        let bindings = [self.value(x).into(), row.into(), gathered.into()];
        self.list.dispatch(&kernels::LOSS_GATHER, &bindings, &params, spread(w.cols));
        self.product_nt(1, gathered.into(), w, out.into());
    }
}

impl Op for Head {
    // The forward is recorded by `Tape::cross_entropy`, which makes losses and gradients chunk by chunk.
    fn forward(&self, _: &mut Tape) {}

    fn backward(&self, t: &mut Tape) {
        let Some((dx, accumulate)) = t.grad_target(self.x) else { return };
        if accumulate == 0 {
            t.list.clear(dx);
        }
        let channels = t.cols(self.x);
        for (gate, (chunk, &dy)) in loss_chunks(self.capacity).zip(&self.dx).enumerate() {
            let (first, count) = (chunk.start, chunk.len() * channels);
            let params = kernels::loss_scatter::Params {
                channels: channels as u32,
                rows: t.rows(self.x) as u32,
                first: first as u32,
                count: count as u32,
            };
            t.list.open_gate(gate);
            t.list.dispatch(&kernels::LOSS_SCATTER, &[dy.into(), self.rows.into(), dx.into()], &params, spread(count));
            t.list.close_gate();
        }
    }

    fn output(&self) -> Option<Var> {
        None
    }
}
