//! Grouped-query attention with its whole score matrix.

use std::ops::Range;

use tunesmith::ops::{Heads, Scoring};

use super::Matrix;

/// One head's view of the rows of q (or k, v, and their gradients).
fn head(row: &[f64], head: usize, dim: usize) -> &[f64] {
    &row[head * dim..][..dim]
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `out += factor x`, for one head of a row.
fn add(out: &mut [f64], head: usize, factor: f64, x: &[f64]) {
    out[head * x.len()..][..x.len()].iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
}

/// Of the keys that a row may see those in the window.
fn in_window(keys: &Range<usize>, scoring: Scoring) -> Range<usize> {
    keys.start.max(keys.end.saturating_sub(scoring.window.unwrap_or(keys.end)))..keys.end
}

/// The probabilities with which one row's head attends to these keys, and the slopes of the scores in the products.
fn probabilities(q: &[f64], k: &Matrix, kv_head: usize, scoring: Scoring, keys: &Range<usize>) -> [Vec<f64>; 2] {
    let scale = (q.len() as f64).sqrt().recip();
    let score = |key: usize| {
        let product = scale * dot(q, head(k.row(key), kv_head, q.len()));
        scoring.soft_cap.map(f64::from).map_or((product, 1.0), |cap| {
            let share = (product / cap).tanh();
            (cap * share, 1.0 - share * share)
        })
    };
    let (scores, slopes): (Vec<f64>, Vec<f64>) = keys.clone().map(score).unzip();
    let lse = super::log_sum_exp(&scores);
    [scores.into_iter().map(|score| (score - lse).exp()).collect(), slopes]
}

/// `softmax(q k^T / sqrt(D)) v`. q: `[T, H D]`; k, v: `[keys, K D]`; `seen[t]`: the keys that row t sees, of which a window
/// leaves the last.
pub fn attention(q: &Matrix, k: &Matrix, v: &Matrix, heads: Heads, scoring: Scoring, seen: &[Range<usize>]) -> Matrix {
    let (dim, group) = (heads.head_dim, heads.heads / heads.kv_heads);
    let mut y = Matrix::zeros(q.rows, q.cols);
    for (row, keys) in seen.iter().map(|keys| in_window(keys, scoring)).enumerate() {
        for h in 0..heads.heads {
            let [p, _] = probabilities(head(q.row(row), h, dim), k, h / group, scoring, &keys);
            for (key, p) in keys.clone().zip(p) {
                add(y.row_mut(row), h, p, head(v.row(key), h / group, dim));
            }
        }
    }
    y
}

/// The gradients of [`attention`] to q, k and v. The softmax's Jacobian: ds_j = p_j (dp_j - sum_i p_i dp_i).
pub fn attention_backward(
    q: &Matrix,
    k: &Matrix,
    v: &Matrix,
    heads: Heads,
    scoring: Scoring,
    seen: &[Range<usize>],
    dy: &Matrix,
) -> [Matrix; 3] {
    let (dim, group) = (heads.head_dim, heads.heads / heads.kv_heads);
    let scale = (dim as f64).sqrt().recip();
    let mut dq = Matrix::zeros(q.rows, q.cols);
    let mut dk = Matrix::zeros(k.rows, k.cols);
    let mut dv = Matrix::zeros(v.rows, v.cols);
    for (row, keys) in seen.iter().map(|keys| in_window(keys, scoring)).enumerate() {
        for h in 0..heads.heads {
            let (query, dy) = (head(q.row(row), h, dim), head(dy.row(row), h, dim));
            let [p, slopes] = probabilities(query, k, h / group, scoring, &keys);
            let dp: Vec<f64> = keys.clone().map(|key| dot(dy, head(v.row(key), h / group, dim))).collect();
            let mean = dot(&p, &dp);
            for (j, key) in keys.clone().enumerate() {
                let ds = p[j] * (dp[j] - mean) * slopes[j];
                add(dq.row_mut(row), h, scale * ds, head(k.row(key), h / group, dim));
                add(dk.row_mut(key), h / group, scale * ds, query);
                add(dv.row_mut(key), h / group, p[j], dy);
            }
        }
    }
    [dq, dk, dv]
}
