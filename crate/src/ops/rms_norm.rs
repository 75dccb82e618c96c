//! Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::Weight;
use super::column_sum::{ColumnSum, Times};
use crate::gpu::{Binding, BufferId, Kernel, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct RmsNorm {
    x: Var,
    /// Stretches that are normalised, each by itself.
    rows: usize,
    /// Numbers in each.
    channels: usize,
    gain: Binding,
    grad: Option<Binding>,
    kind: NormKind,
    y: Var,
    rstd: BufferId,
}

/// How a norm is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormKind {
    /// Added to the mean square.
    pub eps: f32,
    /// Added to each gain: Gemma's are kept as what they differ from 1 by.
    pub offset: f32,
}

impl NormKind {
    /// With gains that are kept as they are.
    pub fn plain(eps: f32) -> Self {
        Self { eps, offset: 0.0 }
    }
}

impl Tape<'_> {
    /// `x / rms(x) * (gain + offset)`, row by row. x: `[T, C]`; gain: `[1, C]`, f32. Where the gain has D numbers and a row H D, each
    /// of its H heads is normalised by itself.
    ///
    /// # Panics
    /// When a row is not whole heads.
    pub fn rms_norm(&mut self, x: Var, gain: &Weight, kind: NormKind) -> Var {
        let channels = gain.rows * gain.cols;
        assert!(self.cols(x).is_multiple_of(channels), "{}: rows of {} numbers", gain.name, self.cols(x));
        let rows = self.count(x) / channels;
        let needs_grad = self.needs_grad(x) || gain.trainable();
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let (gain, grad) = (gain.bind_dense(&mut self.list), gain.bind_grad(&mut self.list));
        let rstd = self.list.planned(rows);
        self.push(RmsNorm { x, rows, channels, gain, grad, kind, y, rstd }, needs_grad);
        y
    }
}

impl RmsNorm {
    fn kernel(&self, t: &Tape, name: &str) -> &'static Kernel {
        let form = match (self.channels.is_multiple_of(4), t.list.subgroup()) {
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
        let (rows, channels) = (self.rows as u32, self.channels as u32);
        let params = kernels::rms_norm_forward::Params { rows, channels, eps: self.kind.eps, offset: self.kind.offset };
        let kernel = self.kernel(t, "forward");
        t.list.dispatch(kernel, &bindings, &params, spread(64 * self.rows));
    }

    // With xhat = x rstd: y = xhat gain, so dgain = sum_t dy xhat. dx is derived in the kernel.
    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some(dgain) = self.grad {
            ColumnSum {
                rows: self.rows,
                cols: self.channels,
                first: 0,
                count: self.channels,
                dy,
                times: Times::Rows(t.value(self.x), self.rstd),
                out: dgain,
                accumulate: 1,
            }
            .record(&mut t.list);
        }
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let bindings = [t.value(self.x).into(), self.gain, self.rstd.into(), dy.into(), dx.into()];
            let (rows, channels) = (self.rows as u32, self.channels as u32);
            let params = kernels::rms_norm_backward::Params { rows, channels, accumulate, offset: self.kind.offset };
            let kernel = self.kernel(t, "backward");
            t.list.dispatch(kernel, &bindings, &params, spread(64 * self.rows));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
