//! How fast the model answers.

use serde::Serialize;

use super::timing::Timing;
use crate::Result;
use crate::clock::now_ms;
use crate::data::batch::mix;
use crate::generate::{Generator, Start};
use crate::gpu::KernelTime;
use crate::model::Model;

/// What generation costs, the choice of tokens counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecodeCost {
    /// Sequences at once.
    pub slots: usize,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// All prompts, in the median.
    pub prefill_ms: f64,
    /// Tokens of the prompts a second.
    pub prefill_tokens_per_second: f64,
    /// One token of each sequence.
    #[serde(flatten)]
    pub timing: Timing,
    /// Tokens a second after the prompt, in the median.
    pub tokens_per_second: f64,
}

/// Tokens of the prompt.
const PROMPT: usize = 64;
/// Tokens after it, the first of which does not count.
const TOKENS: usize = 33;

/// Generates `slots` sequences at once after fixed prompts of random ids, with fixed ids in place of drawn ones, so that they
/// never end early; and profiles one more token of each.
///
/// # Errors
/// As [`Generator::new`] and [`Generator::generate`].
pub async fn measure(model: &Model, slots: usize) -> Result<(DecodeCost, Vec<KernelTime>)> {
    let generator = Generator::new(model, None, PROMPT + TOKENS, slots)?;
    let ids: Vec<u32> =
        (0..PROMPT + TOKENS).map(|position| (mix(position as u64) % model.config.vocab as u64) as u32).collect();
    let start = |slot, len: usize| Start { slot, ids: &ids[..len], key: [slot as u32, len as u32] };
    let prompts: Vec<Start> = (0..slots).map(|slot| start(slot, PROMPT)).collect();
    let mut prefills = Vec::new();
    for run in 0..4 {
        let started = now_ms();
        generator.prefill(&prompts).await?;
        if run > 0 {
            prefills.push(now_ms() - started);
        }
    }
    let decoded = |position: usize| (0..slots).map(|slot| Some(start(slot, position + 1))).collect::<Vec<_>>();
    let mut times = Vec::new();
    for position in PROMPT..PROMPT + TOKENS {
        let started = now_ms();
        generator.decode(&decoded(position)).await?;
        times.push(now_ms() - started);
    }
    let timing = Timing::of(times.split_off(1));
    let prefill_ms = Timing::of(prefills).ms;
    let cost = DecodeCost {
        slots,
        prompt_tokens: PROMPT,
        prefill_ms,
        prefill_tokens_per_second: (slots * PROMPT) as f64 / prefill_ms * 1e3,
        timing,
        tokens_per_second: slots as f64 * 1e3 / timing.ms,
    };
    let kernels = generator.profile(&decoded(PROMPT)).await?;
    Ok((cost, kernels))
}
