//! A penalty for matrices that are not orthogonal: AdaLoRA's (Zhang et al. 2023, arXiv:2303.10512).

use super::Weight;
use super::matmul::{Nn, Nt, Operand, View};
use crate::gpu::{Buffer, kernels};
use crate::tape::Tape;

impl Tape<'_> {
    /// Adds `weight |M|` (Frobenius) to the one number of `total`, and its gradient to that of the f32 weight `w`, both at
    /// once: M is `w w^T - 1`, of the rows, or with `columns` `w^T w - 1`. Each run of the plan adds them once.
    pub fn orthogonality(&mut self, w: &Weight, columns: bool, weight: f32, total: &Buffer) {
        let (values, grad) = (w.bind_dense(&mut self.list), w.bind_grad(&mut self.list));
        let total = self.list.fixed(total);
        let matrix = View::rows(values, w.cols);
        let n = if columns { w.cols } else { w.rows };
        let m = self.list.planned(n * n);
        let (a, b, out) = (matrix, Operand::dense(values), View::rows(m, n));
        if columns {
            self.product(n, n, w.rows, a.transposed(), b, out, false);
        } else {
            Nt { rows: n, segments: vec![(n, None)], depth: w.cols, a, b, out, low: None, residual: None }
                .record(&mut self.list);
        }
        let params = kernels::orthogonality_penalty::Params { n: n as u32, weight };
        self.list.weigh(8.0 * (n * n) as f64);
        self.list.dispatch(&kernels::ORTHOGONALITY_PENALTY, &[m.into(), total.into()], &params, [1, 1, 1]);
        let Some(dw) = grad else { return };
        // M is symmetric: d|M| = <M, dM> / |M| = 2 <M w, dw> / |M|, or 2 <w M, dw> / |M| for the columns. The kernel
        // left 2 weight M / |M|.
        let (a, b) = if columns { (matrix, m.into()) } else { (View::rows(m, n), values) };
        self.product(w.rows, w.cols, n, a, Operand::dense(b), View::rows(dw, w.cols), true);
    }

    fn product(&mut self, rows: usize, cols: usize, depth: usize, a: View, b: Operand, out: View, accumulate: bool) {
        Nn { rows, cols, depth, a, b, out, accumulate, low: None, gated: None }.record(&mut self.list);
    }
}
