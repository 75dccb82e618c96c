//! The places in the forward pass that a tuning method may change.

use super::{Group, Linears, Model, Norm};
use crate::gpu::Buffer;
use crate::ops::Weight;
use crate::tape::{Tape, Var};

/// A group of linear layers in the forward pass.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The block, from 0.
    pub layer: usize,
    /// The linear layers in it.
    pub group: Group,
    /// The counter of dropout while training; `None` switches dropout off.
    pub counter: Option<&'a Buffer>,
}

/// What a tuning method makes of the forward pass; each hook by itself changes nothing.
pub trait Hooks {
    /// Virtual tokens before each example, whose ids go on behind the vocabulary.
    fn virtual_tokens(&self) -> usize {
        0
    }

    /// Rows `[n, C]` that stand in for the embeddings of the virtual tokens.
    fn prompt(&self, _t: &mut Tape) -> Option<Var> {
        None
    }

    /// Trained keys and values of the virtual tokens, `[n, 2 K D]` for each block: keys, not turned any more, then values.
    fn prefixes(&self, _t: &mut Tape) -> Vec<Var> {
        Vec::new()
    }

    /// The first block that it changes: whatever lies below is the model's alone, and takes no gradient.
    fn first_layer(&self) -> usize {
        0
    }

    /// What the linear layers of a group compute, side by side, and added to `residual`; `base` are the model's own.
    /// Where these have no bias, none is added: so merging tells the matrices from the biases.
    fn linears(&self, t: &mut Tape, _site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        base.apply(t, x, None, residual)
    }

    /// The table of token embeddings `[V, C]`.
    fn embedding<'a>(&'a self, model: &'a Model) -> &'a Weight {
        &model.embedding
    }

    /// The table of positions, where the model has one.
    fn positions<'a>(&'a self, model: &'a Model) -> Option<&'a Weight> {
        model.positions.as_ref()
    }

    /// The language-model head `[V, C]`.
    fn head<'a>(&'a self, model: &'a Model) -> &'a Weight {
        model.head()
    }

    /// The gain of a norm, `[1, C]`.
    fn gain<'a>(&'a self, model: &'a Model, norm: Norm) -> &'a Weight {
        &model.norm(norm).gain
    }

    /// The bias of a norm, `[1, C]`, where it has one.
    fn norm_bias<'a>(&'a self, model: &'a Model, norm: Norm) -> Option<&'a Weight> {
        model.norm(norm).bias.as_ref()
    }
}
