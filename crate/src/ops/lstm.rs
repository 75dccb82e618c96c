//! One direction of a recurrent layer (Hochreiter and Schmidhuber 1997), as P-tuning's prompt encoder has it.

use super::Weight;
use super::matmul::{Nn, Operand, View};
use crate::gpu::{Binding, BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Lstm {
    x: Var,
    w: Binding,
    grad: Option<Binding>,
    hidden: usize,
    reverse: bool,
    /// `[n, 4 H]`: the gates behind their functions.
    gates: BufferId,
    /// `[n, H]`.
    cells: BufferId,
    y: Var,
}

impl Tape<'_> {
    /// The hidden states `[n, H]` of PyTorch's LSTM cell over the rows of `x` in order, or with `reverse` from the last
    /// to the first, from a state of zeros. x `[n, 4 H]`: what the inputs and both biases make for the gates i, f, g
    /// and o; w_hh: `[4 H, H]`, f32.
    pub fn lstm(&mut self, x: Var, w_hh: &Weight, reverse: bool) -> Var {
        let (rows, hidden) = (self.rows(x), w_hh.cols);
        assert!(w_hh.rows == 4 * hidden && self.cols(x) == 4 * hidden, "{}: four gates of one size", w_hh.name);
        let needs_grad = self.needs_grad(x) || w_hh.trainable();
        let y = self.var(rows, hidden, needs_grad);
        let (w, grad) = (w_hh.bind_dense(&mut self.list), w_hh.bind_grad(&mut self.list));
        let (gates, cells) = (self.list.planned(rows * 4 * hidden), self.list.planned(rows * hidden));
        self.push(Lstm { x, w, grad, hidden, reverse, gates, cells, y }, needs_grad);
        y
    }
}

impl Op for Lstm {
    fn forward(&self, t: &mut Tape) {
        let (rows, count) = (t.rows(self.x), 4 * self.hidden * self.hidden);
        // Neighbouring lanes take neighbouring units: transposed, what they read of w lies side by side.
        let transposed = t.list.planned(count);
        let params = kernels::lstm_transpose::Params { rows: 4 * self.hidden as u32, cols: self.hidden as u32 };
        t.list.dispatch(&kernels::LSTM_TRANSPOSE, &[self.w, transposed.into()], &params, spread(count));
        let params = kernels::lstm_forward::Params {
            rows: rows as u32,
            hidden: self.hidden as u32,
            reverse: u32::from(self.reverse),
        };
        let bindings =
            [t.value(self.x).into(), transposed.into(), t.value(self.y).into(), self.gates.into(), self.cells.into()];
        t.list.weigh(2.0 * (rows * count) as f64);
        t.list.dispatch(&kernels::LSTM_FORWARD, &bindings, &params, [1, 1, 1]);
    }

    // c_t = f c' + i g and h_t = o tanh(c_t), with c' and h' of the step before. Walking back, dh_t = dy_t + dz'' w and
    // dc_t = dh_t o (1 - tanh(c_t)^2) + dc'' f'', with '' of the step after; then dz_t, the gradient before the gates'
    // functions: dc g i (1 - i), dc c' f (1 - f), dc i (1 - g^2), dh tanh(c) o (1 - o). x adds to z as it is, and
    // dw = sum_t dz_t^T h'.
    fn backward(&self, t: &mut Tape) {
        let (rows, hidden) = (t.rows(self.x), self.hidden);
        let dz = t.list.planned(rows * 4 * hidden);
        let carry = t.list.planned(hidden);
        let params = kernels::lstm_backward::Params {
            rows: rows as u32,
            hidden: hidden as u32,
            reverse: u32::from(self.reverse),
        };
        let bindings = [self.w, self.gates.into(), self.cells.into(), t.grad(self.y).into(), dz.into(), carry.into()];
        t.list.weigh(2.0 * (rows * 4 * hidden * hidden) as f64);
        t.list.dispatch(&kernels::LSTM_BACKWARD, &bindings, &params, [1, 1, 1]);
        if let Some(dw) = self.grad
            && rows > 1
        {
            // dz and y against each other by one row. Whichever starts with its first row can be `b`.
            let (z, y) = (View::rows(dz, 4 * hidden), View::rows(t.value(self.y), hidden));
            let (rows_of, cols, a, b, out) = if self.reverse {
                (hidden, 4 * hidden, y.skip_rows(1), dz, View::rows(dw, hidden).transposed())
            } else {
                (4 * hidden, hidden, z.skip_rows(1), t.value(self.y), View::rows(dw, hidden))
            };
            Nn {
                rows: rows_of,
                cols,
                depth: rows - 1,
                a: a.transposed(),
                b: Operand::dense(b),
                out,
                accumulate: true,
                low: None,
                gated: None,
            }
            .record(&mut t.list);
        }
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            t.copy_buffer(rows * 4 * hidden, dz, dx, accumulate);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
