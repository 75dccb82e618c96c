//! Rows without their mean, which is what LayerNorm does before it does what RMSNorm does (Ba et al. 2016, arXiv:1607.06450).

use crate::gpu::{kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Center {
    x: Var,
    y: Var,
}

impl Tape<'_> {
    /// `x - mean(x)`, row by row. x: `[T, C]`.
    pub fn center(&mut self, x: Var) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        self.push(Center { x, y }, needs_grad);
        y
    }
}

impl Op for Center {
    fn forward(&self, t: &mut Tape) {
        let (rows, channels) = (t.rows(self.x), t.cols(self.x));
        let params = kernels::center_apply::Params { rows: rows as u32, channels: channels as u32, accumulate: 0 };
        let bindings = [t.value(self.x).into(), t.value(self.y).into()];
        t.list.dispatch(&kernels::CENTER_APPLY, &bindings, &params, spread(64 * rows));
    }

    // y = (I - 1 1^T / C) x, a matrix that is its own transpose: dx is to dy what y is to x.
    fn backward(&self, t: &mut Tape) {
        let (rows, channels, dy) = (t.rows(self.x), t.cols(self.x), t.grad(self.y));
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let params = kernels::center_apply::Params { rows: rows as u32, channels: channels as u32, accumulate };
            t.list.dispatch(&kernels::CENTER_APPLY, &[dy.into(), dx.into()], &params, spread(64 * rows));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
