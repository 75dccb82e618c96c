//! A row of parameters added to some columns.

use super::Weight;
use super::column_sum::{ColumnSum, Times};
use crate::gpu::{Binding, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Bias {
    x: Var,
    first: usize,
    width: usize,
    b: Binding,
    grad: Option<Binding>,
    y: Var,
}

impl Tape<'_> {
    /// `x` `[T, n]` with the m numbers of the f32 weight `b` added to its columns from `first` on.
    pub fn bias(&mut self, x: Var, first: usize, b: &Weight) -> Var {
        let width = b.rows * b.cols;
        assert!(first + width <= self.cols(x), "{}: more columns than there are", b.name);
        let needs_grad = self.needs_grad(x) || b.trainable();
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let (values, grad) = (b.bind_dense(&mut self.list), b.bind_grad(&mut self.list));
        self.push(Bias { x, first, width, b: values, grad, y }, needs_grad);
        y
    }
}

impl Op for Bias {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.x);
        let params = kernels::bias_forward::Params {
            count: count as u32,
            cols: t.cols(self.x) as u32,
            first: self.first as u32,
            width: self.width as u32,
        };
        let bindings = [t.value(self.x).into(), self.b, t.value(self.y).into()];
        t.list.dispatch(&kernels::BIAS_FORWARD, &bindings, &params, spread(count));
    }

    // y = x + b: db = sum_t dy, read before dy is handed on as dx.
    fn backward(&self, t: &mut Tape) {
        if let Some(db) = self.grad {
            ColumnSum {
                rows: t.rows(self.x),
                cols: t.cols(self.x),
                first: self.first,
                count: self.width,
                dy: t.grad(self.y),
                times: Times::One,
                out: db,
                accumulate: 1,
            }
            .record(&mut t.list);
        }
        t.pass_grad(self.y, self.x);
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
