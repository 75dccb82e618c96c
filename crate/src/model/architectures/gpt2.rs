//! GPT-2 (Radford et al. 2019): positions have a table of their own and nothing is turned, norms are LayerNorm's, every layer has
//! a bias, and the feed-forward has no gate.

use super::llama::TABLE;
use crate::model::blueprint::Features::{FeedForward, Hidden, Keys, Queries, Values};
use crate::model::blueprint::{
    Architecture, FeedForward as Between, Group, Linear, NormPlace, Paths, Positions, linear, norm,
};
use crate::ops::Activation;

const QKV: Linear = linear("attn.c_attn", "attn_qkv", Group::Qkv, &[Queries, Keys, Values], Hidden);
const O: Linear = linear("attn.c_proj", "attn_output", Group::Output, &[Hidden], Queries);
const UP: Linear = linear("mlp.c_fc", "ffn_up", Group::GateUp, &[FeedForward], Hidden);
const DOWN: Linear = linear("mlp.c_proj", "ffn_down", Group::Down, &[Hidden], FeedForward);

/// The table.
pub static GPT2: Architecture = Architecture {
    name: "gpt2",
    linears: &[QKV.with_bias(), O.with_bias(), UP.with_bias(), DOWN.with_bias()],
    norms: &[norm(NormPlace::Attention, "ln_1", "attn_norm"), norm(NormPlace::FeedForward, "ln_2", "ffn_norm")],
    paths: Paths { embedding: "transformer.wte", blocks: "transformer.h", norm: "transformer.ln_f" },
    positions: Positions::Learned("transformer.wpe"),
    feed_forward: Between::Plain(Activation::GeluTanh),
    layer_norm: true,
    transposed: true,
    ..TABLE
};
