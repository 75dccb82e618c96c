//! Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671): a llama with biases of queries, keys and values.

use crate::model::blueprint::Features::{FeedForward, Hidden, Keys, Queries, Values};
use crate::model::blueprint::{Architecture, Group, NormPlace, linear, norm};

/// The table.
pub static QWEN2: Architecture = Architecture {
    name: "qwen2",
    linears: &[
        linear("self_attn.q_proj", "attn_q", Group::Qkv, &[Queries], Hidden).with_bias(),
        linear("self_attn.k_proj", "attn_k", Group::Qkv, &[Keys], Hidden).with_bias(),
        linear("self_attn.v_proj", "attn_v", Group::Qkv, &[Values], Hidden).with_bias(),
        linear("self_attn.o_proj", "attn_output", Group::Output, &[Hidden], Queries),
        linear("mlp.gate_proj", "ffn_gate", Group::GateUp, &[FeedForward], Hidden),
        linear("mlp.up_proj", "ffn_up", Group::GateUp, &[FeedForward], Hidden),
        linear("mlp.down_proj", "ffn_down", Group::Down, &[Hidden], FeedForward),
    ],
    norms: &[
        norm(NormPlace::Attention, "input_layernorm", "attn_norm"),
        norm(NormPlace::FeedForward, "post_attention_layernorm", "ffn_norm"),
    ],
    half_split: true,
};
