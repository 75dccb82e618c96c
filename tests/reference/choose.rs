//! The choice of the next token.

use tunesmith::ops::ChooseBy;

use super::layers::pcg;
use super::loss::log_sum_exp;

/// A token, and how it was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its id.
    pub id: usize,
    /// Its log-probability under `softmax(logits / temperature)`.
    pub logp: f64,
    /// How far it is ahead of the next one, in nats.
    pub lead: f64,
}

/// The token that `key` draws after the ids `seen`: the likeliest that nothing leaves out, sorted, each with a waiting time of
/// rate `exp(logit / temperature)`; the first is chosen.
pub fn choose(logits: &[f32], by: &ChooseBy, seen: &[u32], key: [u32; 2]) -> Choice {
    let drawn = by.temperature > 0.0;
    let temperature = if drawn { f64::from(by.temperature) } else { 1.0 };
    let penalty = f64::from(by.repetition_penalty);
    let of = |id: usize| {
        let logit = f64::from(logits[id]);
        let is_seen = penalty != 1.0 && seen.contains(&(id as u32));
        if !is_seen {
            logit
        } else if logit > 0.0 {
            logit / penalty
        } else {
            logit * penalty
        }
    };
    let mut left: Vec<(f64, usize)> = (0..logits.len()).map(|id| (of(id), id)).collect();
    left.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let top = left[0].0;
    let weight = |logit: f64| ((logit - top) / temperature).exp();
    // Those that are as likely as the last one kept stay, too.
    let cut = |left: &mut Vec<(f64, usize)>, last: usize| {
        let least = left[last].0;
        left.retain(|(logit, _)| *logit >= least);
    };
    if drawn && (1..left.len()).contains(&(by.top_k as usize)) {
        cut(&mut left, by.top_k as usize - 1);
    }
    if drawn && by.top_p < 1.0 {
        let enough = f64::from(by.top_p) * left.iter().map(|(logit, _)| weight(*logit)).sum::<f64>();
        let mut held = 0.0;
        let last = left.iter().position(|(logit, _)| {
            held += weight(*logit);
            held >= enough
        });
        cut(&mut left, last.unwrap_or_default());
    }
    if drawn {
        left.retain(|(logit, _)| weight(*logit) >= f64::from(by.min_p));
    }
    let score = |&(logit, id): &(f64, usize)| {
        let u = (f64::from(pcg(pcg(id as u32 ^ key[0]) ^ key[1])) + 1.0) / f64::from(u32::MAX);
        let time = -(-u.min(1.0 - 1e-9)).ln_1p();
        (if drawn { (logit - top) / temperature - time.ln() } else { logit }, id)
    };
    let mut scores: Vec<(f64, usize)> = left.iter().map(score).collect();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let id = scores[0].1;
    let scaled: Vec<f64> = logits.iter().map(|&logit| f64::from(logit) / temperature).collect();
    let lead = scores.get(1).map_or(f64::INFINITY, |second| scores[0].0 - second.0);
    Choice { id, logp: scaled[id] - log_sum_exp(&scaled), lead }
}
