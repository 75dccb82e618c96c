//! The language-model head and its cross-entropy, a few rows at a time: the logits are never whole in memory.

use std::ops::Range;

use super::Weight;
use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, kernels};
use crate::tape::{Tape, Var};

/// Rows of logits in memory at a time, at least.
const FEWEST: usize = 64;
/// And at most.
const MOST: usize = 512;

/// The rows that the head takes at a time, of `capacity`, with `most` of them in memory. The first ones are few, for the
/// examples with a word for an answer.
fn chunks(capacity: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let small = [0..most / 4, most / 4..most / 2, most / 2..most];
    let large = (1..capacity.div_ceil(most)).map(move |i| i * most..(i + 1) * most);
    let cut = move |chunk: Range<usize>| chunk.start..chunk.end.min(capacity);
    small.into_iter().chain(large).map(cut).filter(|chunk| !chunk.is_empty())
}

/// What the rows of a batch must predict, and where the losses go. Only rows with a target are listed, side by side,
/// so that one of the chunks without targets is a closed gate of the plan and costs nothing.
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
    /// Most targets.
    pub capacity: usize,
    /// Rows of logits in memory at a time.
    pub chunk: usize,
}

impl Targets {
    /// Buffers for batches of up to `capacity` targets among `vocab` tokens. Many targets are taken some hundred at a time,
    /// as far as one binding holds their logits: so a step stays below a thousand dispatches.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, capacity: usize, vocab: usize) -> Result<Self> {
        let fit = (context.binding_limit() as usize / 4 / vocab + 1).next_power_of_two() / 2;
        let chunk = (capacity / 8).next_power_of_two().min(fit).clamp(FEWEST, MOST);
        let buffer = |what| context.buffer(what, capacity as u64 * 4);
        Ok(Self {
            rows: buffer("target rows")?,
            labels: buffer("labels")?,
            weights: buffer("target weights")?,
            nll: buffer("losses")?,
            total: context.buffer("loss", 4)?,
            capacity,
            chunk,
        })
    }

    /// Uploads one batch: `targets` are (row, label, weight). Returns the gates to open.
    ///
    /// # Panics
    /// When there are more than the capacity.
    pub fn write(&self, context: &Context, targets: &[(u32, u32, f32)]) -> usize {
        assert!(targets.len() <= self.capacity, "{} targets, of {}", targets.len(), self.capacity);
        let padded = |pad: u32, get: fn(&(u32, u32, f32)) -> u32| -> Vec<u32> {
            let mut values: Vec<u32> = targets.iter().map(get).collect();
            values.resize(self.capacity, pad);
            values
        };
        context.write(&self.rows, 0, &padded(u32::MAX, |target| target.0));
        context.write(&self.labels, 0, &padded(u32::MAX, |target| target.1));
        context.write(&self.weights, 0, &padded(0, |target| target.2.to_bits()));
        self.chunks().filter(|chunk| chunk.start < targets.len()).count()
    }

    /// The rows that the head takes at a time.
    pub fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        chunks(self.capacity, self.chunk)
    }
}

impl Tape<'_> {
    /// Adds `sum_i weights[i] nll_i` to the targets' total, where `nll_i` is the cross-entropy of row i of `x w^T` against
    /// `labels[i]`. x: `[capacity, C]`, the targets' rows ([`Tape::gather`]); w: `[V, C]`. With `train`, the gradients of
    /// that sum to x and to a trainable w are made at once: there is nothing to do in the reverse walk.
    ///
    /// # Panics
    /// When C is no multiple of 4 where there are several chunks: each is a piece of a buffer, which starts at a multiple
    /// of 256 bytes.
    pub fn cross_entropy(&mut self, x: Var, w: &Weight, targets: &Targets, train: bool) {
        let (capacity, channels, vocab) = (targets.capacity, w.cols, w.rows);
        assert_eq!([self.rows(x), self.cols(x)], [capacity, channels], "rows and columns of the head's input");
        let labels = self.list.fixed(&targets.labels);
        let weights = self.list.fixed(&targets.weights);
        let nll = self.list.fixed(&targets.nll);
        let total = self.list.fixed(&targets.total);
        let x_value = self.value(x);
        let dx = if train { self.grad_target(x) } else { None };
        if let Some((dx, 0)) = dx {
            // A closed gate writes none of its rows.
            self.list.clear(dx);
        }
        let in_fours = vocab.is_multiple_of(4);
        let kernel = if in_fours { &kernels::LOSS_CROSS_ENTROPY_V4 } else { &kernels::LOSS_CROSS_ENTROPY_PLAIN };
        for (gate, chunk) in targets.chunks().enumerate() {
            let (first, len) = (chunk.start, chunk.len());
            let bytes = |rows: usize| (rows * channels * 4) as u64;
            let piece = |buffer: BufferId| buffer.slice(bytes(first), bytes(len));
            assert!(bytes(first).is_multiple_of(256), "a head of {channels} channels");
            self.list.open_gate(gate);
            let logits = self.list.planned(len * vocab);
            self.product_nt(len, piece(x_value), w, logits.into());
            let params = kernels::loss_cross_entropy::Params { vocab: vocab as u32, first: first as u32 };
            let bindings = [labels.into(), weights.into(), logits.into(), nll.into()];
            self.list.dispatch(kernel, &bindings, &params, [len as u32, 1, 1]);
            // All of it within the gate: the next chunk's logits may lie where these do.
            if train {
                self.product_gradient(len, logits, piece(x_value), w);
            }
            if let Some((dx, accumulate)) = dx {
                self.product_nn(len, logits.into(), w, piece(dx), accumulate != 0);
            }
            self.list.close_gate();
        }
        let params = kernels::loss_total::Params { count: capacity as u32 };
        let bindings = [weights.into(), nll.into(), total.into()];
        self.list.dispatch(&kernels::LOSS_TOTAL, &bindings, &params, [1, 1, 1]);
    }

    /// The logits `[V]` of the row of `x` that `row` (one u32) names, into `out`: the head of generation.
    pub fn row_logits(&mut self, x: Var, w: &Weight, row: &Buffer, out: &Buffer) {
        let x = self.gather(x, row, 1);
        let out = self.list.fixed(out);
        self.product_nt(1, self.value(x).into(), w, out.into());
    }
}
