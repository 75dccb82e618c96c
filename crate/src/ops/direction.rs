//! Weights taken apart into magnitudes and directions: DoRA (Liu et al. 2024, arXiv:2402.09353).

use super::Weight;
use super::column_sum::{ColumnSum, Times};
use crate::format::encoding::Encoding;
use crate::gpu::{Binding, BufferId, Kernel, kernels, spread};
use crate::tape::{Op, Tape, Var};

/// Rows of a weight with the low-rank matrices beside them: `w + scale b a`.
pub struct Direction<'a> {
    /// `[n, k]`
    pub w: &'a Weight,
    /// The first of the rows in `w`, and how many they are.
    pub first: usize,
    /// See `first`.
    pub rows: usize,
    /// Holds A `[r, k]` from row `a_row` on.
    pub a: &'a Weight,
    /// See `a`.
    pub a_row: usize,
    /// Holds B `[rows, r]` from row `b_row` on.
    pub b: &'a Weight,
    /// See `b`.
    pub b_row: usize,
    /// R.
    pub rank: usize,
    /// Of the product.
    pub scale: f32,
}

struct DirectionNorms {
    encoding: Encoding,
    codes: Binding,
    scales: Option<Binding>,
    a: Binding,
    b: Binding,
    params: kernels::direction_norms::Params,
    y: Var,
}

struct Magnitude {
    x: Var,
    first: usize,
    m: Binding,
    grad: Option<Binding>,
    norms: Var,
    y: Var,
}

impl Tape<'_> {
    /// The Euclidean norm of each row of `w + scale b a`, as `[1, rows]`. No gradient flows: section 4.3 of the paper
    /// takes the norms as constants.
    pub fn direction_norms(&mut self, direction: &Direction) -> Var {
        let &Direction { w, first, rows, a, a_row, b, b_row, rank, scale } = direction;
        assert!(first + rows <= w.rows && a.cols == w.cols && b.cols == rank, "{}: a pair of another shape", w.name);
        assert!(a_row + rank <= a.rows && b_row + rows <= b.rows, "{}: a pair of fewer rows", w.name);
        let y = self.var(1, rows, false);
        let (codes, scales) = w.bind(&mut self.list);
        let op = DirectionNorms {
            encoding: w.encoding(),
            codes,
            scales,
            a: a.bind_dense(&mut self.list),
            b: b.bind_dense(&mut self.list),
            params: kernels::direction_norms::Params {
                rows: rows as u32,
                first: first as u32,
                depth: w.cols as u32,
                a_at: (a_row * a.cols) as u32,
                b_at: (b_row * b.cols) as u32,
                rank: rank as u32,
                scale,
            },
            y,
        };
        self.push(op, false);
        y
    }

    /// The columns of `x` `[T, n]` from `first` on times `m / norms`, the others as they are. m: f32 numbers, as many as
    /// the `[1, _]` of `norms`, which are constants. Where both are the same bits the factor is 1.
    pub fn magnitude(&mut self, x: Var, first: usize, m: &Weight, norms: Var) -> Var {
        assert_eq!(m.rows * m.cols, self.count(norms), "{}: as many as there are norms", m.name);
        assert!(first + self.count(norms) <= self.cols(x), "{}: more columns than there are", m.name);
        let needs_grad = self.needs_grad(x) || m.trainable();
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let (values, grad) = (m.bind_dense(&mut self.list), m.bind_grad(&mut self.list));
        self.push(Magnitude { x, first, m: values, grad, norms, y }, needs_grad);
        y
    }
}

impl Op for DirectionNorms {
    fn forward(&self, t: &mut Tape) {
        let kernel = Kernel::named(&format!("direction_norms_{}", self.encoding.name()));
        let params = &self.params;
        let mut bindings = vec![self.a, self.b, self.codes];
        bindings.extend(self.scales);
        bindings.push(t.value(self.y).into());
        t.list.weigh(2.0 * f64::from(params.rows) * f64::from(params.depth) * f64::from(params.rank + 1));
        t.list.dispatch(kernel, &bindings, params, [params.rows.div_ceil(4), 1, 1]);
    }

    fn backward(&self, _: &mut Tape) {
        unreachable!("the norms are constants, and are pushed as needing no gradient");
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}

impl Magnitude {
    fn apply(&self, t: &mut Tape, input: BufferId, output: BufferId, accumulate: u32) {
        let count = t.count(self.x);
        let params = kernels::direction_magnitude::Params {
            count: count as u32,
            cols: t.cols(self.x) as u32,
            first: self.first as u32,
            width: t.count(self.norms) as u32,
            accumulate,
        };
        let bindings = [input.into(), self.m, t.value(self.norms).into(), output.into()];
        t.list.dispatch(&kernels::DIRECTION_MAGNITUDE, &bindings, &params, spread(count));
    }
}

impl Op for Magnitude {
    fn forward(&self, t: &mut Tape) {
        self.apply(t, t.value(self.x), t.value(self.y), 0);
    }

    // y = x m / norms: dx = dy m / norms, and dm = sum_t dy x / norms.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some(dm) = self.grad {
            ColumnSum {
                rows: t.rows(self.x),
                cols: t.cols(self.x),
                first: self.first,
                count: t.count(self.norms),
                dy,
                times: Times::Over(t.value(self.x), t.value(self.norms)),
                out: dm,
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
