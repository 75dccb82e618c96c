//! Grouped-query attention with its whole score matrix.

use std::ops::Range;

use tunesmith::ops::Heads;

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

/// The probabilities with which one row's head attends to the keys it sees.
fn probabilities(q: &[f64], k: &Matrix, kv_head: usize, keys: &Range<usize>) -> Vec<f64> {
    let scale = (q.len() as f64).sqrt().recip();
    let scores: Vec<f64> = keys.clone().map(|key| scale * dot(q, head(k.row(key), kv_head, q.len()))).collect();
    let lse = super::log_sum_exp(&scores);
    scores.into_iter().map(|score| (score - lse).exp()).collect()
}

/// `softmax(q k^T / sqrt(D)) v`. q: `[T, H D]`; k, v: `[keys, K D]`; `seen[t]`: the keys that row t sees.
pub fn attention(q: &Matrix, k: &Matrix, v: &Matrix, heads: Heads, seen: &[Range<usize>]) -> Matrix {
    let (dim, group) = (heads.head_dim, heads.heads / heads.kv_heads);
    let mut y = Matrix::zeros(q.rows, q.cols);
    for (row, keys) in seen.iter().enumerate() {
        for h in 0..heads.heads {
            let p = probabilities(head(q.row(row), h, dim), k, h / group, keys);
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
    seen: &[Range<usize>],
    dy: &Matrix,
) -> [Matrix; 3] {
    let (dim, group) = (heads.head_dim, heads.heads / heads.kv_heads);
    let scale = (dim as f64).sqrt().recip();
    let mut dq = Matrix::zeros(q.rows, q.cols);
    let mut dk = Matrix::zeros(k.rows, k.cols);
    let mut dv = Matrix::zeros(v.rows, v.cols);
    for (row, keys) in seen.iter().enumerate() {
        for h in 0..heads.heads {
            let (query, dy) = (head(q.row(row), h, dim), head(dy.row(row), h, dim));
            let p = probabilities(query, k, h / group, keys);
            let dp: Vec<f64> = keys.clone().map(|key| dot(dy, head(v.row(key), h / group, dim))).collect();
            let mean = dot(&p, &dp);
            for (j, key) in keys.clone().enumerate() {
                let ds = p[j] * (dp[j] - mean);
                add(dq.row_mut(row), h, scale * ds, head(k.row(key), h / group, dim));
                add(dk.row_mut(key), h / group, scale * ds, query);
                add(dv.row_mut(key), h / group, p[j], dy);
            }
        }
    }
    [dq, dk, dv]
}
