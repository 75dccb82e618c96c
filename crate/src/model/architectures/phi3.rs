//! Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219): a llama whose queries, keys and values are one layer, as are gate and
//! up.

use super::llama::{DOWN, O, TABLE};
use crate::model::blueprint::Features::{FeedForward, Hidden, Keys, Queries, Values};
use crate::model::blueprint::{Architecture, Group, Linear, Positions, linear};

const QKV: Linear = linear("self_attn.qkv_proj", "attn_qkv", Group::Qkv, &[Queries, Keys, Values], Hidden);
const GATE_UP: Linear = linear("mlp.gate_up_proj", "ffn_up", Group::GateUp, &[FeedForward, FeedForward], Hidden);

/// The table.
pub static PHI3: Architecture =
    Architecture { name: "phi3", linears: &[QKV, O, GATE_UP, DOWN], positions: Positions::HalfSplit, ..TABLE };
