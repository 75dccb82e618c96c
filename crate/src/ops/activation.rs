//! Functions of single elements.

use crate::gpu::{kernels, spread};
use crate::tape::{Op, Tape, Var};

/// A function of single elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x Phi(x)` with the normal distribution itself, PyTorch's default (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// The same in the paper's other form, with a tanh in place of the normal distribution: GPT-2's.
    GeluTanh,
    /// `x sigmoid(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

struct Apply {
    x: Var,
    f: Activation,
    y: Var,
}

impl Tape<'_> {
    /// `f(x)`, element by element.
    pub fn activation(&mut self, x: Var, f: Activation) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        self.push(Apply { x, f, y }, needs_grad);
        y
    }
}

impl Op for Apply {
    fn forward(&self, t: &mut Tape) {
        let kernel = match self.f {
            Activation::Relu => &kernels::ACTIVATION_FORWARD_RELU,
            Activation::Gelu => &kernels::ACTIVATION_FORWARD_GELU,
            Activation::GeluTanh => &kernels::ACTIVATION_FORWARD_GELU_TANH,
            Activation::Silu => &kernels::ACTIVATION_FORWARD_SILU,
            Activation::Tanh => &kernels::ACTIVATION_FORWARD_TANH,
            Activation::Sigmoid => &kernels::ACTIVATION_FORWARD_SIGMOID,
        };
        let count = t.count(self.y);
        let params = kernels::activation_forward::Params { count: count as u32 };
        t.list.dispatch(kernel, &[t.value(self.x).into(), t.value(self.y).into()], &params, spread(count));
    }

    // y = f(x): dx = dy f'(x), with the slopes written out in the kernel.
    fn backward(&self, t: &mut Tape) {
        let kernel = match self.f {
            Activation::Relu => &kernels::ACTIVATION_BACKWARD_RELU,
            Activation::Gelu => &kernels::ACTIVATION_BACKWARD_GELU,
            Activation::GeluTanh => &kernels::ACTIVATION_BACKWARD_GELU_TANH,
            Activation::Silu => &kernels::ACTIVATION_BACKWARD_SILU,
            Activation::Tanh => &kernels::ACTIVATION_BACKWARD_TANH,
            Activation::Sigmoid => &kernels::ACTIVATION_BACKWARD_SIGMOID,
        };
        let (count, dy) = (t.count(self.y), t.grad(self.y));
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let params = kernels::activation_backward::Params { count: count as u32, accumulate };
            t.list.dispatch(kernel, &[t.value(self.x).into(), dy.into(), dx.into()], &params, spread(count));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
