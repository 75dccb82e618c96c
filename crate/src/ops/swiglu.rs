//! `y = silu(gate) * up`.

use crate::gpu::{kernels, spread};
use crate::tape::{Op, Tape, Var};

struct SwiGlu {
    gate: Var,
    up: Var,
    y: Var,
}

impl Tape {
    /// `silu(gate) * up`, both `[T, F]`.
    pub fn swiglu(&mut self, gate: Var, up: Var) -> Var {
        let needs_grad = self.needs_grad(gate) || self.needs_grad(up);
        let y = self.var(self.rows(gate), self.cols(gate), needs_grad);
        self.push(SwiGlu { gate, up, y }, needs_grad);
        y
    }
}

impl Op for SwiGlu {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.y);
        let bindings = [t.value(self.gate).into(), t.value(self.up).into(), t.value(self.y).into()];
        let params = kernels::swiglu_forward::Params { count: count as u32 };
        t.list.dispatch(&kernels::SWIGLU_FORWARD, &bindings, &params, spread(count));
    }

    fn backward(&self, t: &mut Tape) {
        let (count, dy) = (t.count(self.y), t.grad(self.y));
        // One kernel makes both gradients; an input that needs none gets a buffer nobody reads.
        let mut target = |input| t.grad_target(input).unwrap_or_else(|| (t.list.planned(count), 0));
        let (dgate, accumulate_gate) = target(self.gate);
        let (dup, accumulate_up) = target(self.up);
        let bindings = [t.value(self.gate).into(), t.value(self.up).into(), dy.into(), dgate.into(), dup.into()];
        let params = kernels::swiglu_backward::Params { count: count as u32, accumulate_gate, accumulate_up };
        t.list.dispatch(&kernels::SWIGLU_BACKWARD, &bindings, &params, spread(count));
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
