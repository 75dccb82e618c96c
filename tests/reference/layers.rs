//! The ops that work row by row or element by element.

use tunesmith::ops::Activation;

use super::{Matrix, activation, activation_slope};

/// `x / sqrt(mean(x^2) + eps) * gain`, row by row. `gain` is `[1, C]`.
pub fn rms_norm(x: &Matrix, gain: &Matrix, eps: f64) -> Matrix {
    let mut y = x.clone();
    for row in 0..x.rows {
        let rstd = rstd(x.row(row), eps);
        y.row_mut(row).iter_mut().zip(&gain.data).for_each(|(y, gain)| *y *= rstd * gain);
    }
    y
}

/// The gradient of [`rms_norm`] to `x`. y_i = g_i x_i r with r = (mean(x^2) + eps)^(-1/2), and dr/dx_j = -r^3 x_j / C.
pub fn rms_norm_backward(x: &Matrix, gain: &Matrix, eps: f64, dy: &Matrix) -> Matrix {
    let mut dx = Matrix::zeros(x.rows, x.cols);
    for row in 0..x.rows {
        let (x, dy) = (x.row(row), dy.row(row));
        let r = rstd(x, eps);
        let dr: f64 = (0..x.len()).map(|i| dy[i] * gain.data[i] * x[i]).sum();
        for (i, dx) in dx.row_mut(row).iter_mut().enumerate() {
            *dx = dy[i] * gain.data[i] * r - dr * r.powi(3) * x[i] / x.len() as f64;
        }
    }
    dx
}

fn rstd(x: &[f64], eps: f64) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt().recip()
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `gate sigmoid(gate) up`.
pub fn swiglu(gate: &Matrix, up: &Matrix) -> Matrix {
    gate.zip(up, |gate, up| gate * sigmoid(gate) * up)
}

/// The gradients of [`swiglu`] to `gate` and `up`.
pub fn swiglu_backward(gate: &Matrix, up: &Matrix, dy: &Matrix) -> [Matrix; 2] {
    let slope = gate.map(|x| {
        let s = sigmoid(x);
        s + x * s * (1.0 - s)
    });
    let dgate = slope.zip(up, |slope, up| slope * up).zip(dy, |a, dy| a * dy);
    let dup = gate.map(|x| x * sigmoid(x)).zip(dy, |silu, dy| silu * dy);
    [dgate, dup]
}

/// `gelu(gate) up`, of gelu's tanh form.
pub fn geglu(gate: &Matrix, up: &Matrix) -> Matrix {
    gate.zip(up, |gate, up| activation(Activation::GeluTanh, gate) * up)
}

/// The gradients of [`geglu`] to `gate` and `up`.
pub fn geglu_backward(gate: &Matrix, up: &Matrix, dy: &Matrix) -> [Matrix; 2] {
    let slope = gate.map(|x| activation_slope(Activation::GeluTanh, x));
    let dgate = slope.zip(up, |slope, up| slope * up).zip(dy, |a, dy| a * dy);
    [dgate, geglu(gate, dy)]
}

/// Turns each interleaved pair (2i, 2i + 1) of each head by `position * base^(-2i/D)`; `sign` -1 turns back, which is
/// the gradient of turning. Frequencies and angles are rounded to f32, as the models were trained with.
pub fn rope(x: &Matrix, positions: &[u32], head_dim: usize, base: f64, sign: f64) -> Matrix {
    let mut y = x.clone();
    for (row, &position) in positions.iter().enumerate() {
        for (pair, y) in y.row_mut(row).chunks_exact_mut(2).enumerate() {
            let i = pair % (head_dim / 2);
            let frequency = base.powf(-2.0 * i as f64 / head_dim as f64) as f32;
            let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
            (y[0], y[1]) = (y[0] * cos - sign * y[1] * sin, y[1] * cos + sign * y[0] * sin);
        }
    }
    y
}

/// The rows of `table` `[V, C]` that `ids` name; V + j is row j of `prompt`, or zeros where it has none.
pub fn embed(ids: &[u32], table: &Matrix, prompt: Option<&Matrix>) -> Matrix {
    let mut y = Matrix::zeros(ids.len(), table.cols);
    for (row, &id) in ids.iter().enumerate() {
        let (source, index) = match (id as usize).checked_sub(table.rows) {
            None => (Some(table), id as usize),
            Some(token) => (prompt.filter(|prompt| token < prompt.rows), token),
        };
        if let Some(source) = source {
            y.row_mut(row).copy_from_slice(source.row(index));
        }
    }
    y
}

/// The gradients of [`embed`] to a table of `vocab` rows and to a prompt of `tokens`: each row's, summed over the rows that
/// it went to.
pub fn embed_backward(ids: &[u32], vocab: usize, tokens: usize, dy: &Matrix) -> [Matrix; 2] {
    let mut both = Matrix::zeros(vocab + tokens, dy.cols);
    for (row, &id) in ids.iter().enumerate().filter(|(_, id)| (**id as usize) < vocab + tokens) {
        both.row_mut(id as usize).iter_mut().zip(dy.row(row)).for_each(|(to, dy)| *to += dy);
    }
    let dprompt = both.data.split_off(vocab * dy.cols);
    [Matrix { rows: vocab, cols: dy.cols, data: both.data }, Matrix { rows: tokens, cols: dy.cols, data: dprompt }]
}

/// The PCG hash (`pcg_hash` of Jarzynski and Olano 2020).
pub fn pcg(value: u32) -> u32 {
    let state = value.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// Whether dropout with probability `p` keeps element `index`: the PCG hash chained over the counters, its top 24 bits
/// taken as a number in [0, 1).
pub fn dropout_keeps(seed: u32, step: u32, site: u32, index: u32, p: f32) -> bool {
    let hash = [seed, step, site, index].into_iter().fold(0, |hash, counter| pcg(counter ^ hash));
    f64::from(hash >> 8) / f64::from(1 << 24) >= f64::from(p)
}

/// Inverted dropout of `x`, and likewise of its gradient.
pub fn dropout(x: &Matrix, p: f32, [seed, step]: [u32; 2], site: u32) -> Matrix {
    let mut y = x.clone();
    for (index, y) in y.data.iter_mut().enumerate() {
        let kept = dropout_keeps(seed, step, site, index as u32, p);
        *y = if kept { *y / (1.0 - f64::from(p)) } else { 0.0 };
    }
    y
}
