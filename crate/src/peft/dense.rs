//! A linear layer with a bias, of the small networks that some methods train.

use super::Parameters;
use super::parameters::Spec;
use crate::model::Order;
use crate::tape::{Tape, Var};

/// A linear layer of a small network, as PyTorch starts it: `NAME.weight` `[rows, cols]` and `NAME.bias` `[rows]`, both
/// uniform within 1/sqrt(cols).
pub(super) fn dense_specs(seed: u32, name: &str, rows: usize, cols: usize, order: Option<&Order>) -> [Spec; 2] {
    let bound = 1.0 / (cols as f32).sqrt();
    let spec = |what: &str, shape: &[usize]| Spec {
        order: order.cloned(),
        ..Spec::uniform(seed, format!("{name}.{what}"), shape, bound)
    };
    [spec("weight", &[rows, cols]), spec("bias", &[rows])]
}

/// What that layer makes of `x`.
pub(super) fn dense(t: &mut Tape, params: &Parameters, name: &str, x: Var) -> Var {
    let y = t.linear(x, params.weight(&format!("{name}.weight")));
    t.bias(y, 0, params.weight(&format!("{name}.bias")))
}
