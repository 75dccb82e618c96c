//! How the next token is chosen.

use crate::data::batch::{GOLDEN, mix};
use crate::ops::ChooseBy;

/// How to choose the next token, and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token; above, logits are divided by it and a token is drawn.
    pub temperature: f32,
    /// Draw only from so many of the likeliest tokens; 0 is from all.
    pub top_k: usize,
    /// Draw only from the likeliest tokens that hold this share of the probability.
    pub top_p: f32,
    /// Draw only from tokens that are at least this many times as likely as the likeliest (Nguyen et al. 2024,
    /// arXiv:2407.01082); 0 is from all.
    pub min_p: f32,
    /// Above 1, tokens that were there before, the prompt's too, become less likely: their logits are divided by it where
    /// they are positive, and else multiplied (Keskar et al. 2019, arXiv:1909.05858).
    pub repetition_penalty: f32,
    /// Decides the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// What of it the device reads.
    pub(super) fn choose_by(&self) -> ChooseBy {
        let Self { temperature, top_p, min_p, repetition_penalty, .. } = *self;
        ChooseBy { temperature, top_k: self.top_k as u32, top_p, min_p: min_p.min(1.0), repetition_penalty }
    }

    /// The random bits that decide the draw of a token: SplitMix64 as a function of the seed, the sequence's number and the
    /// token's, so that a sequence is the same whatever is generated beside it.
    pub(super) fn key(&self, sequence: usize, token: usize) -> [u32; 2] {
        let step = |count: u64| count.wrapping_mul(GOLDEN);
        // The first sequence begins at the seed itself.
        let start = if sequence == 0 { self.seed } else { self.seed ^ mix(step(sequence as u64 - 1)) };
        let bits = mix(start.wrapping_add(step(token as u64)));
        [(bits >> 32) as u32, bits as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_has_keys_of_its_own() {
        let keys = |seed, sequence| {
            let sampling = Sampling { seed, ..Default::default() };
            (0..4).map(move |token| sampling.key(sequence, token))
        };
        let first: Vec<_> = keys(3, 0).collect();
        for (seed, sequence) in [(4, 0), (3, 1), (3, 2)] {
            assert!(keys(seed, sequence).all(|key| !first.contains(&key)), "{seed} {sequence}");
        }
    }
}
