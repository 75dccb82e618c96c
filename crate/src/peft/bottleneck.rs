//! The small network of adapters: `o + W_up f(W_down o + b_down) + b_up`.

use super::Parameters;
use super::dense::dense;
use super::parameters::Spec;
use crate::ops::Activation;
use crate::settings::config::NonLinearity;
use crate::tape::{Tape, Var};

impl NonLinearity {
    fn activation(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Gelu => Activation::Gelu,
            Self::Silu => Activation::Silu,
            Self::Tanh => Activation::Tanh,
        }
    }
}

/// The tensors of one, `PLACE.adapter.down.weight` and so on: the first layer as PyTorch starts it, the second all zeros,
/// so that nothing changes at first.
pub fn specs(seed: u32, place: &str, size: usize, channels: usize) -> [Spec; 4] {
    let name = |what: &str| format!("{place}.adapter.{what}");
    let bound = 1.0 / (channels as f32).sqrt();
    [
        Spec::uniform(seed, name("down.weight"), &[size, channels], bound),
        Spec::uniform(seed, name("down.bias"), &[size], bound),
        Spec::zeros(name("up.weight"), &[channels, size]),
        Spec::zeros(name("up.bias"), &[channels]),
    ]
}

/// What it adds to `o` `[T, C]`.
pub fn added(t: &mut Tape, params: &Parameters, place: &str, f: NonLinearity, o: Var) -> Var {
    let low = dense(t, params, &format!("{place}.adapter.down"), o);
    let low = t.activation(low, f.activation());
    dense(t, params, &format!("{place}.adapter.up"), low)
}
