//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::Weight;
use super::column_sum::{ColumnSum, Times};
use crate::gpu::{Binding, BufferId, Kernel, kernels};
use crate::tape::{Op, Tape, Var};

struct RmsNorm {
    x: Var,
    gain: Binding,
    grad: Option<Binding>,
    eps: f32,
    y: Var,
    rstd: BufferId,
}

impl Tape<'_> {
    /// `x / rms(x) * gain`, row by row. x: `[T, C]`; gain: `[1, C]`, f32.
    pub fn rms_norm(&mut self, x: Var, gain: &Weight, eps: f32) -> Var {
        let needs_grad = self.needs_grad(x) || gain.trainable();
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let (gain, grad) = (gain.bind_dense(&mut self.list), gain.bind_grad(&mut self.list));
        let rstd = self.list.planned(self.rows(x));
        self.push(RmsNorm { x, gain, grad, eps, y, rstd }, needs_grad);
        y
    }
}

impl RmsNorm {
    fn kernel(&self, t: &Tape, name: &str) -> &'static Kernel {
        let form = match (t.cols(self.x).is_multiple_of(4), t.list.subgroup()) {
            (false, _) => "plain".to_owned(),
            (true, 0) => "v4".to_owned(),
            (true, lanes) => format!("v4_sg{lanes}"),
        };
        Kernel::named(&format!("rms_norm_{name}_{form}"))
    }
}

impl Op for RmsNorm {
    fn forward(&self, t: &mut Tape) {
        let bindings = [t.value(self.x).into(), self.gain, t.value(self.y).into(), self.rstd.into()];
        let params = kernels::rms_norm_forward::Params { channels: t.cols(self.x) as u32, eps: self.eps };
        let kernel = self.kernel(t, "forward");
        t.list.dispatch(kernel, &bindings, &params, [t.rows(self.x) as u32, 1, 1]);
    }

    // With xhat = x rstd: y = xhat gain, so dgain = sum_t dy xhat. dx is derived in the kernel.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some(dgain) = self.grad {
            let cols = t.cols(self.x);
            ColumnSum {
                rows: t.rows(self.x),
                cols,
                first: 0,
                count: cols,
                dy,
                times: Times::Rows(t.value(self.x), self.rstd),
                out: dgain,
                accumulate: 1,
            }
            .record(&mut t.list);
        }
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let bindings = [t.value(self.x).into(), self.gain, self.rstd.into(), dy.into(), dx.into()];
            let params = kernels::rms_norm_backward::Params { channels: t.cols(self.x) as u32, accumulate };
            let kernel = self.kernel(t, "backward");
            t.list.dispatch(kernel, &bindings, &params, [t.rows(self.x) as u32, 1, 1]);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
