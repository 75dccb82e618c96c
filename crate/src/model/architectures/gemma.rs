//! Gemma (Gemma Team 2024, arXiv:2403.08295): a llama whose gate is gelu, whose gains of norms are kept as what they differ from 1
//! by, and whose embeddings are scaled.

use super::llama::TABLE as LLAMA;
use crate::model::blueprint::{Architecture, FeedForward, Positions};
use crate::ops::Gate;

/// The table, from which later ones take what is the same.
pub(super) const TABLE: Architecture = Architecture {
    name: "gemma",
    positions: Positions::HalfSplit,
    feed_forward: FeedForward::Gated(Gate::Gelu),
    gain_offset: 1.0,
    scaled_embedding: true,
    ..LLAMA
};

/// The table.
pub static GEMMA: Architecture = TABLE;
