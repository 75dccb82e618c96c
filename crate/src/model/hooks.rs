//! The places in the forward pass that a tuning method may change.

use super::{Group, Linears, Model, Module, Norm};
use crate::gpu::Buffer;
use crate::ops::{NormKind, Weight};
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

impl Site<'_> {
    /// The Hugging Face path: `model.layers.3.self_attn.q_proj`.
    pub fn path(layer: usize, module: Module) -> String {
        format!("model.layers.{layer}.{}", module.path)
    }
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

    /// The language-model head `[V, C]`.
    fn head<'a>(&'a self, model: &'a Model) -> &'a Weight {
        model.head()
    }

    /// The gain of a norm, `[1, C]`.
    fn gain<'a>(&'a self, model: &'a Model, norm: Norm) -> &'a Weight {
        model.norm_gain(norm)
    }

    /// What a norm of this gain makes of `x`.
    fn norm(&self, t: &mut Tape, _norm: Norm, x: Var, gain: &Weight, kind: NormKind) -> Var {
        t.rms_norm(x, gain, kind)
    }
}
