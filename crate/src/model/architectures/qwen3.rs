//! Qwen3 (Yang et al. 2025, arXiv:2505.09388): a llama whose queries and keys are normalised, head by head.

use super::llama::{BEFORE_ATTENTION, BEFORE_FEED_FORWARD, TABLE};
use crate::model::blueprint::{Architecture, BlockNorm, NormPlace, Positions, norm};

pub(super) const OF_QUERIES: BlockNorm = norm(NormPlace::Query, "self_attn.q_norm", "attn_q_norm");
pub(super) const OF_KEYS: BlockNorm = norm(NormPlace::Key, "self_attn.k_norm", "attn_k_norm");

/// The table.
pub static QWEN3: Architecture = Architecture {
    name: "qwen3",
    norms: &[BEFORE_ATTENTION, OF_QUERIES, OF_KEYS, BEFORE_FEED_FORWARD],
    positions: Positions::HalfSplit,
    ..TABLE
};
