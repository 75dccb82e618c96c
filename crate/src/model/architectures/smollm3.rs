//! SmolLM3 (Bakouch et al. 2025): a llama of which each fourth block turns no queries and keys.

use super::llama::TABLE;
use crate::model::blueprint::Architecture;

/// The table.
pub static SMOLLM3: Architecture = Architecture { name: "smollm3", unturned_every: 4, ..TABLE };
