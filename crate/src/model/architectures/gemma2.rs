//! Gemma 2 (Gemma Team 2024, arXiv:2408.00118): a Gemma that normalises what is added to the residual stream, too. Its scores and
//! logits have soft caps, and every other block sees a window of keys.

use super::gemma::TABLE;
use super::llama::BEFORE_ATTENTION;
use crate::model::blueprint::{Architecture, BlockNorm, NormPlace, norm};

pub(super) const AFTER_ATTENTION: BlockNorm =
    norm(NormPlace::AfterAttention, "post_attention_layernorm", "post_attention_norm");
pub(super) const BEFORE_FEED_FORWARD: BlockNorm = norm(NormPlace::FeedForward, "pre_feedforward_layernorm", "ffn_norm");
pub(super) const AFTER_FEED_FORWARD: BlockNorm =
    norm(NormPlace::AfterFeedForward, "post_feedforward_layernorm", "post_ffw_norm");

/// The table.
pub static GEMMA2: Architecture = Architecture {
    name: "gemma2",
    norms: &[BEFORE_ATTENTION, AFTER_ATTENTION, BEFORE_FEED_FORWARD, AFTER_FEED_FORWARD],
    global_every: 2,
    ..TABLE
};
