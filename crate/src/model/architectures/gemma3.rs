//! Gemma 3, of text (Gemma Team 2025, arXiv:2503.19786): a Gemma 2 that normalises queries and keys, head by head, in place of soft
//! caps. Five blocks of six see a window of keys, and turn by a base of their own.

use super::gemma::TABLE;
use super::gemma2::{AFTER_ATTENTION, AFTER_FEED_FORWARD, BEFORE_FEED_FORWARD};
use super::llama::BEFORE_ATTENTION;
use super::qwen3::{OF_KEYS, OF_QUERIES};
use crate::model::blueprint::Architecture;

/// The table.
pub static GEMMA3: Architecture = Architecture {
    name: "gemma3",
    norms: &[BEFORE_ATTENTION, OF_QUERIES, OF_KEYS, AFTER_ATTENTION, BEFORE_FEED_FORWARD, AFTER_FEED_FORWARD],
    global_every: 6,
    local_rope_base: Some(10_000.0),
    ..TABLE
};
