//! `y = silu(gate) * up`, of a gate and an up that stand side by side.

use crate::gpu::{kernels, spread};
use crate::tape::{Op, Tape, Var};

struct SwiGlu {
    x: Var,
    y: Var,
}

impl Tape<'_> {
    /// `silu(gate) * up`: x `[T, 2 F]` holds the gate's columns and then up's; the result is `[T, F]`.
    pub fn swiglu(&mut self, x: Var) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x) / 2, needs_grad);
        self.push(SwiGlu { x, y }, needs_grad);
        y
    }
}

impl Op for SwiGlu {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.y);
        let params = kernels::swiglu_forward::Params { ffn: t.cols(self.y) as u32, count: count as u32 };
        let bindings = [t.value(self.x).into(), t.value(self.y).into()];
        t.list.dispatch(&kernels::SWIGLU_FORWARD, &bindings, &params, spread(count));
    }

    fn backward(&self, t: &mut Tape) {
        let (count, dy) = (t.count(self.y), t.grad(self.y));
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let ffn = t.cols(self.y) as u32;
            let params = kernels::swiglu_backward::Params { ffn, count: count as u32, accumulate };
            let bindings = [t.value(self.x).into(), dy.into(), dx.into()];
            t.list.dispatch(&kernels::SWIGLU_BACKWARD, &bindings, &params, spread(count));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
