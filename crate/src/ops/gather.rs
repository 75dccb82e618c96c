//! Some rows of a value, side by side.

use crate::gpu::{Buffer, BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Gather {
    x: Var,
    rows: BufferId,
    y: Var,
}

impl Tape<'_> {
    /// The rows of x `[T, C]` that the first `count` of `rows` name, `[count, C]`: each at most once, and a number past T
    /// gives a row of zeros.
    pub fn gather(&mut self, x: Var, rows: &Buffer, count: usize) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(count, self.cols(x), needs_grad);
        let rows = self.list.fixed(rows);
        self.push(Gather { x, rows, y }, needs_grad);
        y
    }
}

impl Op for Gather {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.y);
        let params = kernels::gather_forward::Params {
            channels: t.cols(self.x) as u32,
            rows: t.rows(self.x) as u32,
            count: count as u32,
        };
        let bindings = [t.value(self.x).into(), self.rows.into(), t.value(self.y).into()];
        t.list.dispatch(&kernels::GATHER_FORWARD, &bindings, &params, spread(count));
    }

    // Each row that was taken gets its gradient, the others none.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        let Some((dx, accumulate)) = t.grad_target(self.x) else { return };
        if accumulate == 0 {
            t.list.clear(dx);
        }
        let count = t.count(self.y);
        let params = kernels::gather_backward::Params {
            channels: t.cols(self.x) as u32,
            rows: t.rows(self.x) as u32,
            count: count as u32,
        };
        t.list.dispatch(&kernels::GATHER_BACKWARD, &[dy.into(), self.rows.into(), dx.into()], &params, spread(count));
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
