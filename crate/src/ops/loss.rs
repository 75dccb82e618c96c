//! The language-model head and its cross-entropy, a few rows at a time: the logits are never whole in memory.

use std::ops::Range;

use super::Weight;
use crate::Result;
use crate::format::encoding::Encoding;
use crate::gpu::{Binding, Buffer, BufferId, Context, kernels, spread};
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
    /// What is made of the rows.
    pub head: Head,
    /// What the head's input is multiplied by, where not by 1: see [`Targets::at_temperature`].
    pub scale: Option<Weight>,
    /// What becomes of the logits before anything else.
    pub capping: Option<Capping>,
}

/// A soft cap of logits: z becomes `cap tanh(z / cap) / temperature`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capping {
    /// What they stay within.
    pub cap: f32,
    /// What they are divided by then.
    pub temperature: f32,
}

impl Capping {
    /// At temperature 1, where there is a cap.
    pub fn new(cap: Option<f32>) -> Option<Self> {
        cap.map(|cap| Self { cap, temperature: 1.0 })
    }
}

/// What is made of the rows that have a target.
#[derive(Clone)]
pub enum Head {
    /// Their losses, of weights that are known beforehand.
    Losses,
    /// Measures first, by which the weights of the losses are found.
    Measures {
        /// `[capacity, 4]`: see [`Tape::measure`].
        measures: Buffer,
        /// And a value each, where there is a value head.
        values: Option<Scores>,
    },
    /// A score each, by which their gradients are found.
    Scores(Scores),
}

/// One number for each row that has a target.
#[derive(Clone)]
pub struct Scores {
    /// `[capacity]`: the numbers.
    pub made: Buffer,
    /// `[capacity]`: their gradients.
    pub grads: Buffer,
}

impl Scores {
    fn new(context: &Context, capacity: usize) -> Result<Self> {
        let buffer = |what| context.buffer(what, capacity as u64 * 4);
        Ok(Self { made: buffer("scores")?, grads: buffer("gradients of the scores")? })
    }

    /// Uploads the gradients of the first ones; those of the rest are 0.
    fn write(&self, context: &Context, grads: &[f32]) {
        context.clear([&self.grads]);
        context.write(&self.grads, 0, grads);
    }
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
            head: Head::Losses,
            scale: None,
            capping: None,
        })
    }

    /// With [`Head::Measures`].
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn measured(self, context: &Context) -> Result<Self> {
        let measures = context.buffer("measures", self.capacity as u64 * 16)?;
        Ok(Self { head: Head::Measures { measures, values: None }, ..self })
    }

    /// As [`Targets::measured`], with values.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn valued(self, context: &Context) -> Result<Self> {
        let mut targets = self.measured(context)?;
        if let Head::Measures { values, .. } = &mut targets.head {
            *values = Some(Scores::new(context, targets.capacity)?);
        }
        Ok(targets)
    }

    /// With [`Head::Scores`].
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn scored(self, context: &Context) -> Result<Self> {
        Ok(Self { head: Head::Scores(Scores::new(context, self.capacity)?), ..self })
    }

    /// With logits under a soft cap.
    #[must_use]
    pub fn capped(self, cap: Option<f32>) -> Self {
        Self { capping: Capping::new(cap), ..self }
    }

    /// With logits divided by a temperature: their input, of so many channels, is, or they themselves behind their cap.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn at_temperature(self, context: &Context, channels: usize, temperature: f32) -> Result<Self> {
        if let Some(Capping { cap, .. }) = self.capping {
            return Ok(Self { capping: Some(Capping { cap, temperature }), ..self });
        }
        let buffer = context.buffer_with("temperature", &vec![temperature.recip(); channels])?;
        let scale = Weight::frozen("temperature", 1, channels, Encoding::F32, buffer, None);
        Ok(Self { scale: Some(scale), ..self })
    }

    /// Uploads one batch: `targets` are (row, label, weight), and weights have any sign. Returns the gates to open.
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
        self.gates(targets.len())
    }

    /// Uploads what was found for the targets that were written last. Returns the gates to open.
    pub fn write_found(&self, context: &Context, found: &Found) -> usize {
        let Found { weights, grads } = found;
        if !weights.is_empty() {
            context.write(&self.weights, 0, weights);
        }
        if let Head::Scores(scores) | Head::Measures { values: Some(scores), .. } = &self.head {
            scores.write(context, grads);
        }
        self.gates(weights.len().max(grads.len()))
    }

    /// The gates to open for so many targets.
    fn gates(&self, targets: usize) -> usize {
        self.chunks().filter(|chunk| chunk.start < targets).count()
    }

    /// The rows that the head takes at a time.
    pub fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        chunks(self.capacity, self.chunk)
    }
}

/// What was found for some targets by what the head made of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The weights of their losses; none under [`Head::Scores`].
    pub weights: Vec<f32>,
    /// The gradients of their scores or values; none where there are none.
    pub grads: Vec<f32>,
}

/// Some rows of a value of so many columns.
fn rows_of(buffer: BufferId, columns: usize, rows: &Range<usize>) -> Binding {
    let bytes = |rows: usize| (rows * columns * 4) as u64;
    assert!(bytes(rows.start).is_multiple_of(256), "a head of {columns} channels");
    buffer.slice(bytes(rows.start), bytes(rows.len()))
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
            let piece = |buffer: BufferId| rows_of(buffer, channels, &chunk);
            self.list.open_gate(gate);
            let logits = self.list.planned(len * vocab);
            self.product_nt(len, piece(x_value), w, logits.into());
            self.cap(logits, len * vocab, targets.capping);
            let (share, temperature) =
                targets.capping.map_or((0.0, 1.0), |capping| (capping.temperature / capping.cap, capping.temperature));
            let params =
                kernels::loss_cross_entropy::Params { vocab: vocab as u32, first: first as u32, share, temperature };
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

    /// Measures what the logits of each row of `x w^T` say of the label, into `measures` `[capacity, 4]`: the label's log-probability and the entropy, in nats, the mean of the logits, and whether the label is the highest,
    /// 1 or 0. Shapes as for [`Tape::cross_entropy`]. It makes no gradient.
    ///
    /// # Panics
    /// As [`Tape::cross_entropy`].
    pub fn measure(&mut self, x: Var, w: &Weight, targets: &Targets, measures: &Buffer) {
        let labels = self.list.fixed(&targets.labels);
        let measures = self.list.fixed(measures);
        let x = self.value(x);
        let in_fours = w.rows.is_multiple_of(4);
        let kernel = if in_fours { &kernels::LOSS_MEASURE_V4 } else { &kernels::LOSS_MEASURE_PLAIN };
        for (gate, chunk) in targets.chunks().enumerate() {
            let (first, len) = (chunk.start, chunk.len());
            self.list.open_gate(gate);
            let logits = self.list.planned(len * w.rows);
            self.product_nt(len, rows_of(x, w.cols, &chunk), w, logits.into());
            self.cap(logits, len * w.rows, targets.capping);
            let params = kernels::loss_measure::Params { vocab: w.rows as u32, first: first as u32 };
            let bindings = [labels.into(), logits.into(), measures.into()];
            self.list.dispatch(kernel, &bindings, &params, [len as u32, 1, 1]);
            self.list.close_gate();
        }
    }

    /// The logits `[count, V]` of the rows of `x` that `rows` (`count` u32) names, into `out`: the head of generation.
    pub fn logits(&mut self, x: Var, w: &Weight, cap: Option<f32>, rows: &Buffer, count: usize, out: &Buffer) {
        let x = self.gather(x, rows, count);
        let out = self.list.fixed(out);
        self.product_nt(count, self.value(x).into(), w, out.into());
        self.cap(out, count * w.rows, Capping::new(cap));
    }

    /// Caps so many logits in place, if they are to be.
    fn cap(&mut self, logits: BufferId, count: usize, capping: Option<Capping>) {
        if let Some(Capping { cap, temperature }) = capping {
            let params = kernels::loss_cap::Params { count: count as u32, cap, temperature };
            self.list.dispatch(&kernels::LOSS_CAP, &[logits.into()], &params, spread(count));
        }
    }
}
