//! Inverted dropout with a counter-based mask.

use crate::gpu::{Buffer, BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Dropout {
    x: Var,
    counter: BufferId,
    site: u32,
    p: f32,
    y: Var,
}

impl Tape<'_> {
    /// Drops elements of `x` with probability `p` and scales the rest by `1 / (1 - p)`. `counter` holds two u32:
    /// the seed and the micro-step; `site` tells the places of one model apart.
    pub fn dropout(&mut self, x: Var, p: f32, counter: &Buffer, site: u32) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let counter = self.list.fixed(counter);
        self.push(Dropout { x, counter, site, p, y }, needs_grad);
        y
    }
}

impl Dropout {
    fn apply(&self, t: &mut Tape, input: BufferId, output: BufferId, accumulate: u32) {
        let count = t.count(self.x);
        let params = kernels::dropout_apply::Params { count: count as u32, site: self.site, accumulate, p: self.p };
        let bindings = [self.counter.into(), input.into(), output.into()];
        t.list.dispatch(&kernels::DROPOUT_APPLY, &bindings, &params, spread(count));
    }
}

impl Op for Dropout {
    fn forward(&self, t: &mut Tape) {
        self.apply(t, t.value(self.x), t.value(self.y), 0);
    }

    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            self.apply(t, dy, dx, accumulate);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
