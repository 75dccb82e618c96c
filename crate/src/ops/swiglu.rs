//! `y = silu(gate) * up`, or with gelu, of a gate and an up that stand side by side.

use crate::gpu::{Kernel, kernels, spread};
use crate::tape::{Op, Origin, Tape, Var};

/// What a gate becomes before it is multiplied with up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x sigmoid(x)`.
    Silu,
    /// gelu in its tanh form.
    Gelu,
}

struct Gated {
    gate: Gate,
    x: Var,
    y: Var,
}

impl Tape<'_> {
    /// `silu(gate) * up`, or with gelu: x `[T, 2 F]` holds the gate's columns and then up's; the result is `[T, F]`.
    pub fn gated(&mut self, gate: Gate, x: Var) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x) / 2, needs_grad);
        if gate == Gate::Silu {
            self.set_origin(y, Origin::Gated(x));
        }
        self.push(Gated { gate, x, y }, needs_grad);
        y
    }
}

impl Gated {
    /// A kernel, and how many numbers it takes at a time.
    fn kernel(&self, t: &Tape, name: &str) -> (&'static Kernel, usize) {
        let (form, numbers) = if t.cols(self.y).is_multiple_of(4) { ("v4", 4) } else { ("plain", 1) };
        let gate = if self.gate == Gate::Gelu { "gelu_" } else { "" };
        (Kernel::named(&format!("swiglu_{name}_{gate}{form}")), numbers)
    }
}

impl Op for Gated {
    fn forward(&self, t: &mut Tape) {
        let (kernel, numbers) = self.kernel(t, "forward");
        let (ffn, count) = (t.cols(self.y) / numbers, t.count(self.y) / numbers);
        let params = kernels::swiglu_forward::Params { ffn: ffn as u32, count: count as u32 };
        let bindings = [t.value(self.x).into(), t.value(self.y).into()];
        t.list.dispatch(kernel, &bindings, &params, spread(count));
    }

    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let (kernel, numbers) = self.kernel(t, "backward");
            let (ffn, count) = (t.cols(self.y) / numbers, t.count(self.y) / numbers);
            let params = kernels::swiglu_backward::Params { ffn: ffn as u32, count: count as u32, accumulate };
            let bindings = [t.value(self.x).into(), dy.into(), dx.into()];
            t.list.dispatch(kernel, &bindings, &params, spread(count));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
