//! One direction of PyTorch's LSTM.

use super::Matrix;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The rows in the order of the walk.
fn walk(rows: usize, reverse: bool) -> Vec<usize> {
    if reverse { (0..rows).rev().collect() } else { (0..rows).collect() }
}

/// What a step leaves: the gates i, f, g and o, the cell and the hidden state.
struct Step {
    gates: [Vec<f64>; 4],
    cell: Vec<f64>,
    hidden: Vec<f64>,
}

/// Step after step, in the order of the walk.
fn run(x: &Matrix, w: &Matrix, reverse: bool) -> Vec<Step> {
    let n = w.cols;
    let zeros = || Step { gates: Default::default(), cell: vec![0.0; n], hidden: vec![0.0; n] };
    let mut steps = vec![zeros()];
    for row in walk(x.rows, reverse) {
        let before = steps.last().expect("a state of zeros, at least");
        let h = Matrix { rows: 1, cols: n, data: before.hidden.clone() };
        let z: Vec<f64> = x.row(row).iter().zip(h.times_transposed(w).data).map(|(x, h)| x + h).collect();
        let gate = |gate: usize, f: fn(f64) -> f64| z[gate * n..][..n].iter().map(|&z| f(z)).collect::<Vec<f64>>();
        let gates = [gate(0, sigmoid), gate(1, sigmoid), gate(2, f64::tanh), gate(3, sigmoid)];
        let [i, f, g, o] = &gates;
        let cell: Vec<f64> = (0..n).map(|j| f[j] * before.cell[j] + i[j] * g[j]).collect();
        let hidden = (0..n).map(|j| o[j] * cell[j].tanh()).collect();
        steps.push(Step { gates, cell, hidden });
    }
    steps
}

/// The hidden states `[n, H]`. x: `[n, 4 H]`, the inputs' part of the gates i, f, g and o; w: `[4 H, H]`.
pub fn lstm(x: &Matrix, w: &Matrix, reverse: bool) -> Matrix {
    let mut y = Matrix::zeros(x.rows, w.cols);
    for (step, row) in run(x, w, reverse)[1..].iter().zip(walk(x.rows, reverse)) {
        y.row_mut(row).copy_from_slice(&step.hidden);
    }
    y
}

/// The gradients of [`lstm`] to x and w, back through time.
pub fn lstm_backward(x: &Matrix, w: &Matrix, reverse: bool, dy: &Matrix) -> [Matrix; 2] {
    let n = w.cols;
    let steps = run(x, w, reverse);
    let (mut dx, mut dw) = (Matrix::zeros(x.rows, x.cols), Matrix::zeros(w.rows, w.cols));
    let (mut dh, mut dc) = (vec![0.0; n], vec![0.0; n]);
    for (step, row) in walk(x.rows, reverse).into_iter().enumerate().rev() {
        let (before, Step { gates: [i, f, g, o], cell, .. }) = (&steps[step], &steps[step + 1]);
        for j in 0..n {
            let state = cell[j].tanh();
            dh[j] += dy.row(row)[j];
            dc[j] += dh[j] * o[j] * (1.0 - state * state);
            let to = dx.row_mut(row);
            to[j] = dc[j] * g[j] * i[j] * (1.0 - i[j]);
            to[n + j] = dc[j] * before.cell[j] * f[j] * (1.0 - f[j]);
            to[2 * n + j] = dc[j] * i[j] * (1.0 - g[j] * g[j]);
            to[3 * n + j] = dh[j] * state * o[j] * (1.0 - o[j]);
            dc[j] *= f[j];
        }
        let dz = Matrix { rows: 1, cols: 4 * n, data: dx.row(row).to_vec() };
        dw = dw.plus(&dz.transposed_times(&Matrix { rows: 1, cols: n, data: before.hidden.clone() }));
        dh = dz.times(w).data;
    }
    [dx, dw]
}
