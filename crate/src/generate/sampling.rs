//! How the next token is chosen from the logits.

use crate::data::batch::{GOLDEN, mix};

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
    /// The next token after the ids `before`, and its log-probability under `softmax(logits / temperature)`, the
    /// temperature 0 taken for 1: before the penalty and before anything is left out, as a later pass over the same tokens
    /// gives it. `draw` is uniform in [0, 1).
    pub fn choose(&self, logits: &[f32], before: &[u32], draw: f64) -> (u32, f32) {
        let temperature = if self.temperature > 0.0 { f64::from(self.temperature) } else { 1.0 };
        let id = match self.repetition_penalty {
            1.0 => self.pick(logits, temperature, draw),
            penalty => self.pick(&penalized(logits, before, penalty), temperature, draw),
        };
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let scaled = |logit: f32| (f64::from(logit) - top) / temperature;
        let sum: f64 = logits.iter().map(|&logit| scaled(logit).exp()).sum();
        (id as u32, (scaled(logits[id]) - sum.ln()) as f32)
    }

    fn pick(&self, logits: &[f32], temperature: f64, draw: f64) -> usize {
        let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
        if self.temperature <= 0.0 {
            return best;
        }
        let top = f64::from(logits[best]);
        let weight = |id: usize| ((f64::from(logits[id]) - top) / temperature).exp();
        let mut likely: Vec<(f64, usize)> = (0..logits.len()).map(|id| (weight(id), id)).collect();
        // Ties in order of the id, so that the draw is the same everywhere.
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if (1..likely.len()).contains(&self.top_k) {
            likely.select_nth_unstable_by(self.top_k - 1, order);
            likely.truncate(self.top_k);
            likely.sort_by(order);
        }
        if self.top_p < 1.0 {
            let all: f64 = likely.iter().map(|(weight, _)| weight).sum();
            // All that weigh less than this hold no more than the share that is left out, and few are left to sort.
            let least = (1.0 - f64::from(self.top_p)) * all / likely.len() as f64;
            likely.retain(|&(weight, _)| weight >= least);
            likely.sort_by(order);
            let mut held = 0.0;
            let enough = |(weight, _): &&(f64, usize)| {
                let more = held < f64::from(self.top_p) * all;
                held += weight;
                more
            };
            let kept = likely.iter().take_while(enough).count();
            likely.truncate(kept);
        }
        // The likeliest weighs 1, and stays.
        likely.retain(|&(weight, _)| weight >= f64::from(self.min_p.min(1.0)));
        let mut rest = draw * likely.iter().map(|(weight, _)| weight).sum::<f64>();
        for &(weight, id) in &likely {
            rest -= weight;
            if rest < 0.0 {
                return id;
            }
        }
        likely.last().map_or(best, |&(_, id)| id)
    }
}

fn penalized(logits: &[f32], before: &[u32], penalty: f32) -> Vec<f32> {
    let mut seen = before.to_vec();
    seen.sort_unstable();
    seen.dedup();
    let mut logits = logits.to_vec();
    for id in seen {
        // Virtual tokens have no logits.
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    logits
}

/// The draw for a token, uniform in [0, 1): SplitMix64 as a function of the seed, the sequence's number and the token's,
/// so that a sequence is the same whatever is generated beside it.
pub(super) fn draw(seed: u64, sequence: usize, token: usize) -> f64 {
    let step = |count: u64| count.wrapping_mul(GOLDEN);
    // The first sequence begins at the seed itself.
    let start = if sequence == 0 { seed } else { seed ^ mix(step(sequence as u64 - 1)) };
    (mix(start.wrapping_add(step(token as u64))) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Their softmax: 0.087, 0.644, 0.237, 0.032.
    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    fn draws(sampling: Sampling) -> Vec<u32> {
        (0..2000).map(|token| sampling.choose(&LOGITS, &[1, 3, 1], draw(7, 0, token)).0).collect()
    }

    fn share(draws: &[u32], id: u32) -> f64 {
        draws.iter().filter(|&&other| other == id).count() as f64 / draws.len() as f64
    }

    #[test]
    fn samples_the_softmax_within_what_is_left() {
        let sampling = Sampling { temperature: 1.0, ..Default::default() };
        assert_eq!(share(&draws(Sampling::default()), 1), 1.0);
        let all = draws(sampling);
        assert!((share(&all, 1) - 0.644).abs() < 0.04 && (share(&all, 3) - 0.032).abs() < 0.015);
        // The two likeliest alone, however that is said: 0.269 of them is the second's.
        for two in [
            Sampling { top_p: 0.7, ..sampling },
            Sampling { top_k: 2, ..sampling },
            Sampling { min_p: 0.3, ..sampling },
            Sampling { top_k: 3, top_p: 0.9, min_p: 0.2, ..sampling },
        ] {
            let draws = draws(two);
            assert_eq!((share(&draws, 0), share(&draws, 3)), (0.0, 0.0), "{two:?}");
            assert!((share(&draws, 2) - 0.269).abs() < 0.04, "{two:?}");
        }
        assert_eq!(share(&draws(Sampling { top_k: 1, ..sampling }), 1), 1.0);
        assert_eq!(share(&draws(Sampling { min_p: 1.0, ..sampling }), 1), 1.0);
    }

    #[test]
    fn what_was_there_before_becomes_less_likely() {
        let greedy = |penalty| Sampling { repetition_penalty: penalty, ..Default::default() };
        assert_eq!(greedy(1.9).choose(&LOGITS, &[1], 0.0).0, 1, "2 / 1.9 is still above 1");
        assert_eq!(greedy(2.1).choose(&LOGITS, &[1, 9], 0.0).0, 2);
        assert_eq!(penalized(&LOGITS, &[3, 1, 3], 2.0), [0.0, 1.0, 1.0, -2.0], "once, however often it was there");
        // Told is what the model gives, not what the penalty leaves.
        assert_eq!(
            greedy(2.1).choose(&LOGITS, &[1], 0.0).1,
            greedy(1.0).choose(&[2.0, 0.0, 1.0, -1.0], &[], 0.0).1 - 1.0
        );
    }

    #[test]
    fn log_probabilities_are_of_the_temperature() {
        let at = |temperature| Sampling { temperature, ..Default::default() }.choose(&LOGITS, &[], 0.3);
        assert_eq!((at(0.0).0, at(2.0).0), (1, 1));
        assert!((at(0.0).1 - 0.643_914_3_f32.ln()).abs() < 1e-6);
        // exp(1) over exp(0) + exp(1) + exp(1/2) + exp(-1/2).
        assert!((at(2.0).1 - (1.0 - 5.973_534_f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn every_sequence_has_draws_of_its_own() {
        let first: Vec<f64> = (0..4).map(|token| draw(3, 0, token)).collect();
        for other in [(4, 0), (3, 1), (3, 2)] {
            assert!((0..4).all(|token| !first.contains(&draw(other.0, other.1, token))), "{other:?}");
        }
        let mean = (0..1000).map(|sequence| draw(3, sequence, 5)).sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }
}
