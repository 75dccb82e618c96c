//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).

use crate::gpu::{BufferId, kernels};
use crate::model::Weight;
use crate::tape::{Op, Tape, Var};

struct RmsNorm {
    x: Var,
    gain: BufferId,
    eps: f32,
    y: Var,
    rstd: BufferId,
}

impl Tape<'_> {
    /// `x / rms(x) * gain`, row by row. x: `[T, C]`; gain: `[1, C]`, frozen f32.
    pub fn rms_norm(&mut self, x: Var, gain: &Weight, eps: f32) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let gain = self.list.fixed(gain.dense());
        let rstd = self.list.planned(self.rows(x));
        self.push(RmsNorm { x, gain, eps, y, rstd }, needs_grad);
        y
    }
}

impl Op for RmsNorm {
    fn forward(&self, t: &mut Tape) {
        let bindings = [t.value(self.x).into(), self.gain.into(), t.value(self.y).into(), self.rstd.into()];
        let params = kernels::rms_norm_forward::Params { channels: t.cols(self.x) as u32, eps: self.eps };
        t.list.dispatch(&kernels::RMS_NORM_FORWARD, &bindings, &params, [t.rows(self.x) as u32, 1, 1]);
    }

    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let bindings = [t.value(self.x).into(), self.gain.into(), self.rstd.into(), dy.into(), dx.into()];
            let params = kernels::rms_norm_backward::Params { channels: t.cols(self.x) as u32, accumulate };
            t.list.dispatch(&kernels::RMS_NORM_BACKWARD, &bindings, &params, [t.rows(self.x) as u32, 1, 1]);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
