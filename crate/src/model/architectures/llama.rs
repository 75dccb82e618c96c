//! Llama (Touvron et al. 2023, arXiv:2302.13971), and whatever has its form: SmolLM, Mistral, TinyLlama. The parts of its
//! block have names here, for most architectures since have some of them.

use crate::model::blueprint::Features::{FeedForward, Hidden, Keys, Queries, Values};
use crate::model::blueprint::{
    Architecture, BlockNorm, FeedForward as Between, Group, Linear, NormPlace, Paths, Positions, linear, norm,
};
use crate::ops::Gate;

pub(super) const Q: Linear = linear("self_attn.q_proj", "attn_q", Group::Qkv, &[Queries], Hidden);
pub(super) const K: Linear = linear("self_attn.k_proj", "attn_k", Group::Qkv, &[Keys], Hidden);
pub(super) const V: Linear = linear("self_attn.v_proj", "attn_v", Group::Qkv, &[Values], Hidden);
pub(super) const O: Linear = linear("self_attn.o_proj", "attn_output", Group::Output, &[Hidden], Queries);
pub(super) const GATE: Linear = linear("mlp.gate_proj", "ffn_gate", Group::GateUp, &[FeedForward], Hidden);
pub(super) const UP: Linear = linear("mlp.up_proj", "ffn_up", Group::GateUp, &[FeedForward], Hidden);
pub(super) const DOWN: Linear = linear("mlp.down_proj", "ffn_down", Group::Down, &[Hidden], FeedForward);

pub(super) const BEFORE_ATTENTION: BlockNorm = norm(NormPlace::Attention, "input_layernorm", "attn_norm");
pub(super) const BEFORE_FEED_FORWARD: BlockNorm = norm(NormPlace::FeedForward, "post_attention_layernorm", "ffn_norm");

/// The table, from which those of other architectures take what is the same.
pub(super) const TABLE: Architecture = Architecture {
    name: "llama",
    linears: &[Q, K, V, O, GATE, UP, DOWN],
    norms: &[BEFORE_ATTENTION, BEFORE_FEED_FORWARD],
    paths: Paths { embedding: "model.embed_tokens", blocks: "model.layers", norm: "model.norm" },
    positions: Positions::Interleaved,
    feed_forward: Between::Gated(Gate::Silu),
    layer_norm: false,
    transposed: false,
    gain_offset: 0.0,
    scaled_embedding: false,
    unturned_every: 0,
    global_every: 0,
    local_rope_base: None,
};

/// The table.
pub static LLAMA: Architecture = TABLE;
