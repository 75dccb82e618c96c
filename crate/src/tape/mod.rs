//! A small static tape over fused ops: a forward list, a reverse walk, nothing symbolic.
//!
//! Shape legend, everywhere: T tokens, C channels, H heads, K key-value heads, D head dimension, F feed-forward,
//! V vocabulary, R rank. A `d` prefix is a gradient. Every value is row-major f32 `[rows, cols]`.
//!
//! Accumulation rule: the first writer of an activation's gradient assigns, later ones add; parameter gradients always
//! add, and are cleared once a step.

mod recompute;

pub use recompute::Recompute;

use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, Plan, Recorder};

/// A value on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(usize);

struct Value {
    rows: usize,
    cols: usize,
    buffer: BufferId,
    needs_grad: bool,
    grad: Option<BufferId>,
    origin: Option<Origin>,
}

/// How a value came of another, for ops that take its gradient on to that one by themselves: then there is nothing left to
/// do for the op that made it.
#[derive(Clone, Copy)]
pub enum Origin {
    /// Its columns were turned, row by row.
    Turned(Turned),
    /// SwiGLU was made of this.
    Gated(Var),
}

/// How columns were turned.
#[derive(Clone, Copy)]
pub struct Turned {
    /// What was turned.
    pub from: Var,
    /// How many of its columns, from the first on.
    pub cols: usize,
    /// Columns that turn by one row of the table.
    pub head_dim: usize,
    /// The row of the table for each row.
    pub positions: BufferId,
    /// `(cos, sin)` of each pair of columns.
    pub table: BufferId,
}

/// A fused operation. Both directions are required, so nothing can be silently non-differentiable.
pub trait Op {
    /// Records the forward dispatches.
    fn forward(&self, t: &mut Tape);
    /// Records the dispatches that turn the output's gradient into the inputs' gradients. Called only when
    /// some input needs one and the output has one.
    fn backward(&self, t: &mut Tape);
    /// The value whose gradient [`Op::backward`] reads; `None` for an op that ends in a loss.
    fn output(&self) -> Option<Var>;
}

/// What the reverse walk meets.
enum Remembered<'a> {
    Op(Box<dyn Op>),
    Block(Block<'a>),
}

/// What makes a value of another.
type Record<'a> = Box<dyn Fn(&mut Tape<'a>, Var) -> Var + 'a>;

/// A stretch of the forward pass of which only the input is kept: see [`Tape::block`].
struct Block<'a> {
    input: Var,
    output: Var,
    record: Record<'a>,
}

/// Records a forward pass as its ops are pushed, and the backward pass in one reverse walk.
pub struct Tape<'a> {
    /// The dispatches so far; ops record into it.
    pub list: Recorder,
    values: Vec<Value>,
    ops: Vec<Remembered<'a>>,
}

impl<'a> Tape<'a> {
    /// An empty tape for this device.
    pub fn new(context: &Context) -> Self {
        Self { list: Recorder::new(context), values: Vec::new(), ops: Vec::new() }
    }

    /// A new value `[rows, cols]`. `needs_grad` flows up: set it when any input of the op that makes it needs one.
    pub fn var(&mut self, rows: usize, cols: usize, needs_grad: bool) -> Var {
        let buffer = self.list.planned(rows * cols);
        self.values.push(Value { rows, cols, buffer, needs_grad, grad: None, origin: None });
        Var(self.values.len() - 1)
    }

    /// A leaf `[rows, cols]` that lives in `buffer`, outside the plan: an input, or an output to read back.
    pub fn leaf(&mut self, rows: usize, cols: usize, buffer: &Buffer, grad: Option<&Buffer>) -> Var {
        let buffer = self.list.fixed(buffer);
        let grad = grad.map(|grad| self.list.fixed(grad));
        self.values.push(Value { rows, cols, buffer, needs_grad: grad.is_some(), grad, origin: None });
        Var(self.values.len() - 1)
    }

    /// Makes a value live in `buffer`, outside the plan: a result to read back.
    pub fn keep(&mut self, var: Var, buffer: &Buffer) {
        self.list.keep(self.values[var.0].buffer, buffer);
    }

    /// Records `op` forward and remembers it for the reverse walk when `needs_grad`.
    pub fn push(&mut self, op: impl Op + 'static, needs_grad: bool) {
        op.forward(self);
        if needs_grad {
            self.ops.push(Remembered::Op(Box::new(op)));
        }
    }

    /// Records what `record` makes of `input`. With `recompute` nothing in between is kept for the backward pass: it
    /// records the stretch once more when it gets there, which gives the same bits (Chen et al. 2016, arXiv:1604.06174).
    pub fn block(&mut self, input: Var, recompute: bool, record: impl Fn(&mut Tape<'a>, Var) -> Var + 'a) -> Var {
        let before = self.ops.len();
        let output = record(self, input);
        if recompute && self.needs_grad(output) {
            self.ops.truncate(before);
            // What it came of is not kept.
            self.values[output.0].origin = None;
            self.ops.push(Remembered::Block(Block { input, output, record: Box::new(record) }));
        }
        output
    }

    /// Number of rows.
    pub fn rows(&self, var: Var) -> usize {
        self.values[var.0].rows
    }

    /// Number of columns.
    pub fn cols(&self, var: Var) -> usize {
        self.values[var.0].cols
    }

    /// Number of elements.
    pub fn count(&self, var: Var) -> usize {
        self.rows(var) * self.cols(var)
    }

    /// The buffer of the value.
    pub fn value(&self, var: Var) -> BufferId {
        self.values[var.0].buffer
    }

    /// Whether any trainable leaf lies below this value.
    pub fn needs_grad(&self, var: Var) -> bool {
        self.values[var.0].needs_grad
    }

    /// Marks a value as needing a gradient after all: something trainable was added onto it.
    pub fn require_grad(&mut self, var: Var) {
        self.values[var.0].needs_grad = true;
    }

    /// The gradient of an op's output, complete when its backward runs.
    ///
    /// # Panics
    /// When nothing wrote it: [`Tape::backward`] does not call an op in that state.
    pub fn grad(&self, var: Var) -> BufferId {
        self.values[var.0].grad.expect("the walk visits an op only when its output has a gradient")
    }

    /// Where an op's backward writes an input's gradient, and whether it adds (1) or assigns (0); `None` when the
    /// input needs none.
    pub fn grad_target(&mut self, var: Var) -> Option<(BufferId, u32)> {
        let &Value { rows, cols, needs_grad, grad, .. } = &self.values[var.0];
        if !needs_grad {
            return None;
        }
        Some(match grad {
            Some(buffer) => (buffer, 1),
            None => {
                let buffer = self.list.planned(rows * cols);
                self.values[var.0].grad = Some(buffer);
                (buffer, 0)
            }
        })
    }

    /// Remembers how a value came of another.
    pub fn set_origin(&mut self, var: Var, origin: Origin) {
        self.values[var.0].origin = Some(origin);
    }

    /// How a value came of another, if that is remembered.
    pub fn origin(&self, var: Var) -> Option<Origin> {
        self.values[var.0].origin
    }

    /// Whether some of this value's gradient is there.
    pub fn has_grad(&self, var: Var) -> bool {
        self.values[var.0].grad.is_some()
    }

    /// Whether what an op's backward gives `var` is all of its gradient: nothing came before, and the walk gets to the op
    /// that made it next.
    pub fn is_all_of(&self, var: Var) -> bool {
        let next = matches!(self.ops.last(), Some(Remembered::Op(op)) if op.output() == Some(var));
        next && !self.has_grad(var)
    }

    /// Hands the complete gradient of an op's output on to an input that it was added up from. The first to write that
    /// input's gradient only passes the buffer on: the output's gradient is not read again.
    pub fn pass_grad(&mut self, output: Var, input: Var) {
        let from = self.grad(output);
        let untouched = self.values[input.0].grad.is_none();
        if untouched && self.needs_grad(input) && self.list.is_planned(from) {
            self.values[input.0].grad = Some(from);
        } else if let Some((to, accumulate)) = self.grad_target(input) {
            self.copy_buffer(self.count(input), from, to, accumulate);
        }
    }

    /// Gives a value its gradient from outside, `[rows, cols]` in `buffer`: where the reverse walk begins when no loss
    /// op does.
    pub fn seed_grad(&mut self, var: Var, buffer: &Buffer) {
        self.values[var.0].grad = Some(self.list.fixed(buffer));
    }

    /// Records the backward pass: every remembered op, last first, that a gradient has reached.
    pub fn backward(&mut self) {
        self.walk_back_to(0);
    }

    fn walk_back_to(&mut self, first: usize) {
        while self.ops.len() > first {
            match self.ops.pop().expect("there are more than `first`") {
                Remembered::Op(op) => {
                    if op.output().is_none_or(|output| self.values[output.0].grad.is_some()) {
                        op.backward(self);
                    }
                }
                Remembered::Block(Block { input, output, record }) => {
                    let Some(grad) = self.values[output.0].grad else { continue };
                    let before = self.ops.len();
                    let again = record(self, input);
                    self.values[again.0].grad = Some(grad);
                    self.walk_back_to(before);
                }
            }
        }
    }

    /// Makes the recorded list runnable.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn finish(self, context: &Context) -> Result<Plan> {
        Plan::new(context, self.list)
    }
}
