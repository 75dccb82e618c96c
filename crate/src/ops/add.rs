//! `y = a + b`: the residual stream.

use crate::gpu::{kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Add {
    a: Var,
    b: Var,
    y: Var,
}

impl Tape {
    /// `a + b`, both `[rows, cols]`.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let needs_grad = self.needs_grad(a) || self.needs_grad(b);
        let y = self.var(self.rows(a), self.cols(a), needs_grad);
        self.push(Add { a, b, y }, needs_grad);
        y
    }
}

impl Tape {
    /// Copies `x` into the leaf `out` of the same shape: a result to read back. Nothing flows back through it.
    pub fn copy(&mut self, x: Var, out: Var) {
        let count = self.count(x);
        let bindings = [self.value(x).into(), self.value(out).into()];
        let params = kernels::add_backward::Params { count: count as u32, accumulate: 0 };
        self.list.dispatch(&kernels::ADD_BACKWARD, &bindings, &params, spread(count));
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
        let (count, dy) = (t.count(self.y), t.grad(self.y));
        for input in [self.a, self.b] {
            if let Some((dx, accumulate)) = t.grad_target(input) {
                let params = kernels::add_backward::Params { count: count as u32, accumulate };
                t.list.dispatch(&kernels::ADD_BACKWARD, &[dy.into(), dx.into()], &params, spread(count));
            }
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
