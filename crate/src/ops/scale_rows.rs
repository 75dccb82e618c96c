//! Rows times factors that are computed: gates.

use super::column_sum::{ColumnSum, Times};
use crate::gpu::{BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct ScaleRows {
    x: Var,
    g: Var,
    y: Var,
}

impl Tape<'_> {
    /// The rows of `x` `[T, n]` times `g`: `[T, 1]`, a factor for each row, or `[1, 1]`, one for all of them.
    pub fn scale_rows(&mut self, x: Var, g: Var) -> Var {
        assert!(self.cols(g) == 1 && [1, self.rows(x)].contains(&self.rows(g)), "a factor a row, or one for all");
        let needs_grad = self.needs_grad(x) || self.needs_grad(g);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        self.push(ScaleRows { x, g, y }, needs_grad);
        y
    }
}

impl ScaleRows {
    fn apply(&self, t: &mut Tape, input: BufferId, output: BufferId, accumulate: u32) {
        let count = t.count(self.x);
        let params = kernels::scale_rows_apply::Params {
            count: count as u32,
            cols: t.cols(self.x) as u32,
            factors: t.rows(self.g) as u32,
            accumulate,
        };
        let bindings = [input.into(), t.value(self.g).into(), output.into()];
        t.list.dispatch(&kernels::SCALE_ROWS_APPLY, &bindings, &params, spread(count));
    }

    /// `out[t] (+)= sum_c dy[t, c] x[t, c]`.
    fn row_dot(&self, t: &mut Tape, out: BufferId, accumulate: u32) {
        let params = kernels::scale_rows_row_dot::Params { cols: t.cols(self.x) as u32, accumulate };
        let bindings = [t.grad(self.y).into(), t.value(self.x).into(), out.into()];
        t.list.dispatch(&kernels::SCALE_ROWS_ROW_DOT, &bindings, &params, [t.rows(self.x) as u32, 1, 1]);
    }
}

impl Op for ScaleRows {
    fn forward(&self, t: &mut Tape) {
        self.apply(t, t.value(self.x), t.value(self.y), 0);
    }

    // y[t] = x[t] g[t]: dx[t] = dy[t] g[t], and dg[t] = sum_c dy[t, c] x[t, c]; that of one factor sums over t too.
    fn backward(&self, t: &mut Tape) {
        let rows = t.rows(self.x);
        if let Some((dg, accumulate)) = t.grad_target(self.g) {
            if t.rows(self.g) == rows {
                self.row_dot(t, dg, accumulate);
            } else {
                let parts = t.list.planned(rows);
                self.row_dot(t, parts, 0);
                let (dy, times, out) = (parts, Times::One, dg.into());
                ColumnSum { rows, cols: 1, first: 0, count: 1, dy, times, out, accumulate }.record(&mut t.list);
            }
        }
        let dy = t.grad(self.y);
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            self.apply(t, dy, dx, accumulate);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
