//! A weight as a value, for what is computed of parameters alone.

use super::Weight;
use crate::gpu::Binding;
use crate::tape::{Op, Tape, Var};

struct Parameter {
    values: Binding,
    grad: Option<Binding>,
    y: Var,
}

impl Tape<'_> {
    /// Puts a value into an f32 weight of the same shape. Nothing flows back through it.
    pub fn copy_into(&mut self, x: Var, w: &Weight) {
        let to = w.bind_dense(&mut self.list);
        self.copy_buffer(self.count(x), self.value(x), to, 0);
    }

    /// The f32 weight `w` `[rows, cols]` as a value: a copy of its own, since a gradient of a value may be assigned and
    /// handed on, and that of a weight only adds.
    pub fn parameter(&mut self, w: &Weight) -> Var {
        let y = self.var(w.rows, w.cols, w.trainable());
        let op = Parameter { values: w.bind_dense(&mut self.list), grad: w.bind_grad(&mut self.list), y };
        self.push(op, w.trainable());
        y
    }
}

impl Op for Parameter {
    fn forward(&self, t: &mut Tape) {
        t.copy_buffer(t.count(self.y), self.values, t.value(self.y), 0);
    }

    // y = w: dw += dy.
    fn backward(&self, t: &mut Tape) {
        if let Some(dw) = self.grad {
            t.copy_buffer(t.count(self.y), t.grad(self.y), dw, 1);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
