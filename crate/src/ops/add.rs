//! `y = a + b`, and copies.

use crate::gpu::{Binding, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Add {
    a: Var,
    b: Var,
    y: Var,
}

impl Tape<'_> {
    /// `a + b`, both `[rows, cols]`.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let needs_grad = self.needs_grad(a) || self.needs_grad(b);
        let y = self.var(self.rows(a), self.cols(a), needs_grad);
        self.push(Add { a, b, y }, needs_grad);
        y
    }

    /// Copies `x` into the leaf `out` of the same shape: a result to read back. Nothing flows back through it.
    pub fn copy(&mut self, x: Var, out: Var) {
        self.copy_buffer(self.count(x), self.value(x), self.value(out), 0);
    }

    /// Copies `count` numbers, or adds them to what is there.
    pub(crate) fn copy_buffer(
        &mut self,
        count: usize,
        from: impl Into<Binding>,
        to: impl Into<Binding>,
        accumulate: u32,
    ) {
        let params = kernels::add_backward::Params { count: count as u32, accumulate };
        self.list.dispatch(&kernels::ADD_BACKWARD, &[from.into(), to.into()], &params, spread(count));
    }
}

impl Op for Add {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.y);
        let bindings = [t.value(self.a).into(), t.value(self.b).into(), t.value(self.y).into()];
        let params = kernels::add_forward::Params { count: count as u32 };
        t.list.dispatch(&kernels::ADD_FORWARD, &bindings, &params, spread(count));
    }

    fn backward(&self, t: &mut Tape) {
        // The same value twice gets the gradient twice; a buffer handed on must not be added to itself.
        let dy = t.grad(self.y);
        if self.a != self.b {
            t.pass_grad(self.y, self.a);
        } else if let Some((dx, accumulate)) = t.grad_target(self.a) {
            t.copy_buffer(t.count(self.y), dy, dx, accumulate);
        }
        if let Some((dx, accumulate)) = t.grad_target(self.b) {
            t.copy_buffer(t.count(self.y), dy, dx, accumulate);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
