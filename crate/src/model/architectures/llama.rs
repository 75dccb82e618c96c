//! Llama (Touvron et al. 2023, arXiv:2302.13971), and whatever has its form: SmolLM, Mistral, TinyLlama.

use crate::model::blueprint::Features::{FeedForward, Hidden, Keys, Queries, Values};
use crate::model::blueprint::{Architecture, Group, NormPlace, linear, norm};

/// The table.
pub static LLAMA: Architecture = Architecture {
    name: "llama",
    linears: &[
        linear("self_attn.q_proj", "attn_q", Group::Qkv, &[Queries], Hidden),
        linear("self_attn.k_proj", "attn_k", Group::Qkv, &[Keys], Hidden),
        linear("self_attn.v_proj", "attn_v", Group::Qkv, &[Values], Hidden),
        linear("self_attn.o_proj", "attn_output", Group::Output, &[Hidden], Queries),
        linear("mlp.gate_proj", "ffn_gate", Group::GateUp, &[FeedForward], Hidden),
        linear("mlp.up_proj", "ffn_up", Group::GateUp, &[FeedForward], Hidden),
        linear("mlp.down_proj", "ffn_down", Group::Down, &[Hidden], FeedForward),
    ],
    norms: &[
        norm(NormPlace::Attention, "input_layernorm", "attn_norm"),
        norm(NormPlace::FeedForward, "post_attention_layernorm", "ffn_norm"),
    ],
    half_split: false,
};
