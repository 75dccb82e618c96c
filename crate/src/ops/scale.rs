//! Some columns times a row of parameters.

use super::Weight;
use super::column_sum::{ColumnSum, Times};
use crate::gpu::{Binding, BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Scale {
    x: Var,
    first: usize,
    width: usize,
    w: Binding,
    grad: Option<Binding>,
    y: Var,
}

impl Tape<'_> {
    /// The columns of `x` `[T, n]` from `first` on times the m numbers of the f32 weight `w`, the others as they are.
    pub fn scale(&mut self, x: Var, first: usize, w: &Weight) -> Var {
        let width = w.rows * w.cols;
        assert!(first + width <= self.cols(x), "{}: more columns than there are", w.name);
        let needs_grad = self.needs_grad(x) || w.trainable();
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let (values, grad) = (w.bind_dense(&mut self.list), w.bind_grad(&mut self.list));
        self.push(Scale { x, first, width, w: values, grad, y }, needs_grad);
        y
    }
}

impl Scale {
    fn apply(&self, t: &mut Tape, input: BufferId, output: BufferId, accumulate: u32) {
        let count = t.count(self.x);
        let params = kernels::scale_apply::Params {
            count: count as u32,
            cols: t.cols(self.x) as u32,
            first: self.first as u32,
            width: self.width as u32,
            accumulate,
        };
        t.list.dispatch(&kernels::SCALE_APPLY, &[input.into(), self.w, output.into()], &params, spread(count));
    }
}

impl Op for Scale {
    fn forward(&self, t: &mut Tape) {
        self.apply(t, t.value(self.x), t.value(self.y), 0);
    }

    // y = x w: dx = dy w, and dw = sum_t dy x.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some(dw) = self.grad {
            ColumnSum {
                rows: t.rows(self.x),
                cols: t.cols(self.x),
                first: self.first,
                count: self.width,
                dy,
                times: Times::Value(t.value(self.x)),
                out: dw,
                accumulate: 1,
            }
            .record(&mut t.list);
        }
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            self.apply(t, dy, dx, accumulate);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
