//! `y = a * b`, element by element.

use crate::gpu::{BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Mul {
    a: Var,
    b: Var,
    y: Var,
}

impl Tape<'_> {
    /// The products of the elements of `a` and `b`, both `[rows, cols]`.
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        let needs_grad = self.needs_grad(a) || self.needs_grad(b);
        let y = self.var(self.rows(a), self.cols(a), needs_grad);
        self.push(Mul { a, b, y }, needs_grad);
        y
    }
}

impl Mul {
    fn product(&self, t: &mut Tape, a: BufferId, b: BufferId, y: BufferId, accumulate: u32) {
        let count = t.count(self.y);
        let params = kernels::mul_product::Params { count: count as u32, accumulate };
        t.list.dispatch(&kernels::MUL_PRODUCT, &[a.into(), b.into(), y.into()], &params, spread(count));
    }
}

impl Op for Mul {
    fn forward(&self, t: &mut Tape) {
        self.product(t, t.value(self.a), t.value(self.b), t.value(self.y), 0);
    }

    // y = a b: da = dy b and db = dy a. A value times itself gets both.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        for (to, other) in [(self.a, self.b), (self.b, self.a)] {
            if let Some((dx, accumulate)) = t.grad_target(to) {
                self.product(t, dy, t.value(other), dx, accumulate);
            }
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
