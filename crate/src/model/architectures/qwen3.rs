//! Qwen3 (Yang et al. 2025, arXiv:2505.09388): a llama whose queries and keys are normalised, head by head.

use super::llama::{BEFORE_ATTENTION, BEFORE_FEED_FORWARD, DOWN, GATE, K, O, Q, UP, V};
use crate::model::blueprint::{Architecture, NormPlace, norm};

/// The table.
pub static QWEN3: Architecture = Architecture {
    name: "qwen3",
    linears: &[Q, K, V, O, GATE, UP, DOWN],
    norms: &[
        BEFORE_ATTENTION,
        norm(NormPlace::Query, "self_attn.q_norm", "attn_q_norm"),
        norm(NormPlace::Key, "self_attn.k_norm", "attn_k_norm"),
        BEFORE_FEED_FORWARD,
    ],
    half_split: true,
};
