//! The linear layers of a group, as a block has them.

use crate::ops::{LowRank, Weight};
use crate::tape::{Tape, Var};

/// The linear layers of a group in one block: they read the same input, and their results stand side by side.
#[derive(Clone)]
pub struct Linears {
    /// One matrix, its layers below each other, or, where their encodings differ or one binding would not hold it, a
    /// matrix each.
    pub weights: Vec<Weight>,
    /// Their biases side by side, `[1, outputs]`; `None` where the architecture has none there.
    pub bias: Option<Weight>,
}

impl Linears {
    /// What they make of `x`, with low-rank matrices beside them, added to `residual`.
    pub fn apply(&self, t: &mut Tape, x: Var, low: Option<&LowRank>, residual: Option<Var>) -> Var {
        let y = t.linears(x, &self.weights, low, residual);
        self.biased(t, y)
    }

    /// `y` with their biases.
    pub fn biased(&self, t: &mut Tape, y: Var) -> Var {
        self.bias.as_ref().map_or(y, |bias| t.bias(y, 0, bias))
    }

    /// The same without biases.
    pub fn without_bias(&self) -> Self {
        Self { bias: None, ..self.clone() }
    }

    /// All of their weights and biases.
    pub fn all(&self) -> impl Iterator<Item = &Weight> {
        self.weights.iter().chain(&self.bias)
    }
}
