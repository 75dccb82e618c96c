//! Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671): a llama with biases of queries, keys and values.

use super::llama::{DOWN, GATE, K, O, Q, TABLE, UP, V};
use crate::model::blueprint::{Architecture, Positions};

/// The table.
pub static QWEN2: Architecture = Architecture {
    name: "qwen2",
    linears: &[Q.with_bias(), K.with_bias(), V.with_bias(), O, GATE, UP, DOWN],
    positions: Positions::HalfSplit,
    ..TABLE
};
