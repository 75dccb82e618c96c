//! Linear layers over weights in any encoding, frozen or trainable, with a low-rank pair beside them and a residual.

use super::Weight;
use super::matmul::{Entry, LowPart, Nn, Nt, Operand, Pair, Skinny, View};
use crate::gpu::{Binding, BufferId, Recorder};
use crate::tape::{Op, Origin, Tape, Var};

/// The low-rank matrices beside one linear layer, or beside several that share their input and stand side by side in
/// one result (Hu et al. 2021, arXiv:2106.09685). Segment s of the result gets `scale * low_s B_s^T`, where
/// `low_s = x A_s^T`.
pub struct LowRank<'a> {
    /// What A reads, `[T, k]`: the layers' input, or that input after dropout.
    pub x: Var,
    /// The A of every segment that has one, below each other: `[segments * r, k]`.
    pub a: &'a Weight,
    /// The B of the same segments, below each other: `[their columns, r]`.
    pub b: &'a Weight,
    /// R.
    pub rank: usize,
    /// Columns of each segment of the result, in order, and whether it has a pair.
    pub segments: Vec<(usize, bool)>,
    /// Applied to the product.
    pub scale: f32,
}

/// A frozen or trainable matrix with its columns of the result.
struct Piece {
    weight: Operand,
    grad: Option<Binding>,
    rows: usize,
    first: usize,
}

/// The low-rank part as an op keeps it.
struct Low {
    x: Var,
    a: Binding,
    b: Binding,
    /// A and B lie in one run of the flat gradient, B `b_at` elements behind A.
    grads: Binding,
    b_at: usize,
    rank: usize,
    segments: Vec<(usize, bool)>,
    scale: f32,
    /// `x A^T`, `[T, ranks]`.
    value: BufferId,
}

impl Low {
    fn ranks(&self) -> usize {
        self.rank * self.segments.iter().filter(|(_, has)| *has).count()
    }

    /// For each segment with a pair: its first column in the result, its columns, its first row of B, and its first
    /// column of `low`.
    fn parts(&self) -> Vec<(usize, usize, usize, usize)> {
        let (mut first, mut row, mut rank) = (0, 0, 0);
        let mut parts = Vec::new();
        for &(cols, has) in &self.segments {
            if has {
                parts.push((first, cols, row, rank));
                row += cols;
                rank += self.rank;
            }
            first += cols;
        }
        parts
    }

    /// The segments as a product over all of them wants them.
    fn for_nt(&self) -> Vec<(usize, Option<usize>)> {
        let mut rank = 0;
        let place = |&(cols, has): &(usize, bool)| {
            let at = has.then_some(rank);
            rank += if has { self.rank } else { 0 };
            (cols, at)
        };
        self.segments.iter().map(place).collect()
    }
}

/// `y = x w^T [+ scale low B^T] [+ residual]`; y may be several layers side by side.
struct Linear {
    x: Var,
    y: Var,
    k: usize,
    pieces: Vec<Piece>,
    low: Option<Low>,
    residual: Option<Var>,
}

impl Tape<'_> {
    /// `x w^T`: x `[T, k]`, w `[n, k]`, result `[T, n]`.
    pub fn linear(&mut self, x: Var, w: &Weight) -> Var {
        self.linears(x, std::slice::from_ref(w), None, None)
    }

    /// The results of layers that share their input, side by side: `[T, sum of n]`. `low` may add a low-rank product to
    /// some of them, `residual` `[T, sum of n]` is added to all. With `low` every segment's edge that is not its
    /// neighbour's must be an edge of a weight.
    pub fn linears(&mut self, x: Var, weights: &[Weight], low: Option<&LowRank>, residual: Option<Var>) -> Var {
        let cols = weights.iter().map(|w| w.rows).sum();
        let needs_grad = [Some(x), residual].into_iter().flatten().any(|x| self.needs_grad(x))
            || weights.iter().any(Weight::trainable)
            || low.is_some();
        let y = self.var(self.rows(x), cols, needs_grad);
        let mut first = 0;
        let mut pieces = Vec::with_capacity(weights.len());
        for w in weights {
            let (codes, scales) = w.bind(&mut self.list);
            let weight = Operand { encoding: w.encoding(), codes, scales };
            pieces.push(Piece { weight, grad: w.bind_grad(&mut self.list), rows: w.rows, first });
            first += w.rows;
        }
        let low = low.map(|low| self.place_low(low));
        self.push(Linear { x, y, k: weights[0].cols, pieces, low, residual }, needs_grad);
        y
    }

    fn place_low(&mut self, low: &LowRank) -> Low {
        let (a, _) = low.a.bind(&mut self.list);
        let (b, _) = low.b.bind(&mut self.list);
        let (grads, b_at) = low.a.bind_grads_to(low.b, &mut self.list);
        let value = self.list.planned(self.rows(low.x) * low.a.rows);
        let segments = low.segments.clone();
        Low { x: low.x, a, b, grads, b_at, rank: low.rank, segments, scale: low.scale, value }
    }

    /// `out[rows, n] = x w^T` on buffers that are no values of the tape: the loss head's logits.
    pub(super) fn product_nt(&mut self, rows: usize, x: Binding, w: &Weight, out: Binding) {
        for (first, piece) in w.pieces() {
            let (codes, scales) = piece.bind(&mut self.list);
            Nt {
                rows,
                segments: vec![(piece.rows, None)],
                depth: w.cols,
                a: View::rows(x, w.cols),
                b: Operand { encoding: w.encoding(), codes, scales },
                out: View::rows(out, w.rows).skip_cols(first),
                low: None,
                residual: None,
            }
            .record(&mut self.list);
        }
    }

    /// `dw += dy^T x`, likewise, of a trained w; nothing for a frozen one.
    pub(super) fn product_gradient(&mut self, rows: usize, dy: BufferId, x: Binding, w: &Weight) {
        if let Some(dw) = w.bind_grad(&mut self.list) {
            weight_gradient(&mut self.list, [rows, w.rows, w.cols], View::rows(dy, w.rows), true, x, dw);
        }
    }

    /// `out[rows, k] (+)= dy w`, likewise.
    pub(super) fn product_nn(&mut self, rows: usize, dy: Binding, w: &Weight, out: Binding, accumulate: bool) {
        for (first, piece) in w.pieces() {
            let (codes, scales) = piece.bind(&mut self.list);
            Nn {
                rows,
                cols: w.cols,
                depth: piece.rows,
                a: View::rows(dy, w.rows).skip_cols(first),
                b: Operand { encoding: w.encoding(), codes, scales },
                out: View::rows(out, w.cols),
                accumulate: accumulate || first > 0,
                low: None,
                gated: None,
            }
            .record(&mut self.list);
        }
    }
}

impl Linear {
    /// `low = x A^T`.
    fn low_forward(&self, t: &mut Tape, low: &Low) {
        let (rows, k, ranks) = (t.rows(low.x), self.k, low.ranks());
        let pair = Pair {
            l: View::rows(low.a, k).transposed(),
            z: View::rows(t.value(low.x), k).transposed(),
            out_row: 1,
            out_col: ranks,
            scale: 1.0,
        };
        let entry = Entry { pair: 0, depth: k, width: ranks, cols: rows, l_at: 0, z_at: 0, out_at: 0 };
        Skinny { pairs: [pair; 2], entries: vec![entry], out: low.value.into(), accumulate: false }.record(&mut t.list);
    }

    /// `dlow = scale dy B`, a segment an entry.
    fn low_gradient(&self, t: &mut Tape, low: &Low) -> BufferId {
        let (rows, n, ranks) = (t.rows(self.y), t.cols(self.y), low.ranks());
        let dlow = t.list.planned(rows * ranks);
        let pair = Pair {
            l: View::rows(low.b, low.rank),
            z: View::rows(t.grad(self.y), n).transposed(),
            out_row: 1,
            out_col: ranks,
            scale: low.scale,
        };
        let entry = |(first, cols, row, rank)| Entry {
            pair: 0,
            depth: cols,
            width: low.rank,
            cols: rows,
            l_at: row * low.rank,
            z_at: first,
            out_at: rank,
        };
        let entries = low.parts().into_iter().map(entry).collect();
        Skinny { pairs: [pair; 2], entries, out: dlow.into(), accumulate: false }.record(&mut t.list);
        dlow
    }

    /// `dA += dlow^T x` and, a segment an entry, `dB += scale dy^T low`.
    fn low_weight_gradients(&self, t: &mut Tape, low: &Low, dlow: BufferId) {
        let (rows, n, ranks) = (t.rows(self.y), t.cols(self.y), low.ranks());
        let for_a = Pair {
            l: View::rows(dlow, ranks),
            z: View::rows(t.value(low.x), self.k),
            out_row: self.k,
            out_col: 1,
            scale: 1.0,
        };
        let for_b = Pair {
            l: View::rows(low.value, ranks),
            z: View::rows(t.grad(self.y), n),
            out_row: 1,
            out_col: low.rank,
            scale: low.scale,
        };
        let mut entries = vec![Entry { pair: 0, depth: rows, width: ranks, cols: self.k, l_at: 0, z_at: 0, out_at: 0 }];
        entries.extend(low.parts().into_iter().map(|(first, cols, row, rank)| Entry {
            pair: 1,
            depth: rows,
            width: low.rank,
            cols,
            l_at: rank,
            z_at: first,
            out_at: low.b_at + row * low.rank,
        }));
        Skinny { pairs: [for_a, for_b], entries, out: low.grads, accumulate: true }.record(&mut t.list);
    }

    /// `dw += dy^T x` of a trained piece.
    fn weight_gradient(&self, t: &mut Tape, piece: &Piece, dw: Binding) {
        let dy = View::rows(t.grad(self.y), t.cols(self.y)).skip_cols(piece.first);
        let (rows, n, x) = (t.rows(self.x), piece.rows, t.value(self.x).into());
        weight_gradient(&mut t.list, [rows, n, self.k], dy, self.pieces.len() == 1, x, dw);
    }
}

/// `dw[n, k] += dy[rows, n]^T x[rows, k]`, the narrower side of dw as rows. `whole`: dy is all of its binding.
fn weight_gradient(list: &mut Recorder, [rows, n, k]: [usize; 3], dy: View, whole: bool, x: Binding, dw: Binding) {
    // `b` must be a whole row-major matrix, so dy can be it only where no other layer stands beside.
    let (rows_of, a, b, out) = if n <= k || !whole {
        ((n, k), dy.transposed(), Operand::dense(x), View::rows(dw, k))
    } else {
        ((k, n), View::rows(x, k).transposed(), Operand::dense(dy.binding), View::rows(dw, k).transposed())
    };
    Nn { rows: rows_of.0, cols: rows_of.1, depth: rows, a, b, out, accumulate: true, low: None, gated: None }
        .record(list);
}

impl Op for Linear {
    fn forward(&self, t: &mut Tape) {
        let (rows, n) = (t.rows(self.x), t.cols(self.y));
        let (x, y) = (t.value(self.x), t.value(self.y));
        if let Some(low) = &self.low {
            self.low_forward(t, low);
        }
        // Every weight is a segment of its own, or holds several: segments are cut at the weights' edges.
        let mut segments: std::collections::VecDeque<_> = match &self.low {
            Some(low) => low.for_nt().into(),
            None => self.pieces.iter().map(|piece| (piece.rows, None)).collect(),
        };
        let mut b_row = 0;
        for piece in &self.pieces {
            let mut own = Vec::new();
            let mut left = piece.rows;
            while left > 0 {
                let segment = segments.pop_front().expect("the segments cover the weights");
                left -= segment.0;
                own.push(segment);
            }
            let low = self.low.as_ref().map(|low| LowPart {
                low: low.value,
                low_cols: low.ranks(),
                b: low.b,
                b_row,
                rank: low.rank,
                scale: low.scale,
            });
            b_row += own.iter().filter(|(_, at)| at.is_some()).map(|(cols, _)| cols).sum::<usize>();
            Nt {
                rows,
                segments: own,
                depth: self.k,
                a: View::rows(x, self.k),
                b: piece.weight.clone(),
                out: View::rows(y, n).skip_cols(piece.first),
                low,
                residual: self.residual.map(|residual| t.value(residual)),
            }
            .record(&mut t.list);
        }
    }

    // y = x w^T + s (x A^T) B^T: dx = dy w + dlow A with dlow = s dy B; dA = dlow^T x, dB = s dy^T low.
    fn backward(&self, t: &mut Tape) {
        let (rows, n) = (t.rows(self.x), t.cols(self.y));
        let dy = t.grad(self.y);
        let dlow = self.low.as_ref().map(|low| (low, self.low_gradient(t, low)));
        if let Some((low, dlow)) = dlow {
            self.low_weight_gradients(t, low, dlow);
        }
        // What SwiGLU made gets no gradient of its own where this is all of it: it goes through to SwiGLU's input.
        let gated = match t.origin(self.x) {
            Some(Origin::Gated(from)) if self.pieces.len() == 1 && t.is_all_of(self.x) && !t.has_grad(from) => {
                Some(from)
            }
            _ => None,
        };
        if let Some((dx, accumulate)) = t.grad_target(gated.unwrap_or(self.x)) {
            for (i, piece) in self.pieces.iter().enumerate() {
                let along = dlow.filter(|(low, _)| i == 0 && low.x == self.x);
                Nn {
                    rows,
                    cols: self.k,
                    depth: piece.rows,
                    a: View::rows(dy, n).skip_cols(piece.first),
                    b: piece.weight.clone(),
                    out: View::rows(dx, gated.map_or(self.k, |from| t.cols(from))),
                    accumulate: accumulate != 0 || i > 0,
                    low: along.map(|(low, dlow)| (dlow, low.a, low.ranks())),
                    gated: gated.map(|from| t.value(from)),
                }
                .record(&mut t.list);
            }
        }
        if let Some((low, dlow)) = dlow.filter(|(low, _)| low.x != self.x)
            && let Some((dx, accumulate)) = t.grad_target(low.x)
        {
            Nn {
                rows,
                cols: self.k,
                depth: low.ranks(),
                a: View::rows(dlow, low.ranks()),
                b: Operand::dense(low.a),
                out: View::rows(dx, self.k),
                accumulate: accumulate != 0,
                low: None,
                gated: None,
            }
            .record(&mut t.list);
        }
        for piece in &self.pieces {
            if let Some(dw) = piece.grad {
                self.weight_gradient(t, piece, dw);
            }
        }
        if let Some(residual) = self.residual {
            t.pass_grad(self.y, residual);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
