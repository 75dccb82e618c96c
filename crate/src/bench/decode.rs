//! How fast the model answers.

use serde::Serialize;

use super::timing::Timing;
use crate::Result;
use crate::clock::now_ms;
use crate::data::batch::mix;
use crate::generate::Generator;
use crate::model::Model;

/// What generation costs, sampling not counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecodeCost {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The whole prompt, in the median.
    pub prefill_ms: f64,
    /// Tokens of the prompt a second.
    pub prefill_tokens_per_second: f64,
    /// One token.
    #[serde(flatten)]
    pub timing: Timing,
    /// Tokens a second after the prompt, in the median.
    pub tokens_per_second: f64,
}

/// Tokens of the prompt.
const PROMPT: usize = 64;
/// Tokens after it, the first of which does not count.
const TOKENS: usize = 33;

/// Generates after a fixed prompt of random ids, with fixed ids in place of drawn ones, so that it never ends early.
///
/// # Errors
/// As [`Generator::new`] and [`Generator::generate`].
pub async fn measure(model: &Model) -> Result<DecodeCost> {
    let generator = Generator::new(model, None, PROMPT + TOKENS, 1)?;
    let id = |position: usize| (mix(position as u64) % model.config.vocab as u64) as u32;
    let prompt: Vec<u32> = (0..PROMPT).map(id).collect();
    let mut prefills = Vec::new();
    for run in 0..4 {
        let started = now_ms();
        generator.prefill(&[(0, &prompt)]).await?;
        if run > 0 {
            prefills.push(now_ms() - started);
        }
    }
    let mut times = Vec::new();
    for position in PROMPT..PROMPT + TOKENS {
        let started = now_ms();
        generator.decode(&[Some((id(position), position))]).await?;
        times.push(now_ms() - started);
    }
    let timing = Timing::of(times.split_off(1));
    let prefill_ms = Timing::of(prefills).ms;
    Ok(DecodeCost {
        prompt_tokens: PROMPT,
        prefill_ms,
        prefill_tokens_per_second: PROMPT as f64 / prefill_ms * 1e3,
        timing,
        tokens_per_second: 1e3 / timing.ms,
    })
}
