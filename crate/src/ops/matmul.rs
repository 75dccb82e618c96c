//! Linear layers over weights in any encoding, frozen or trainable.

use crate::format::quant::Encoding;
use crate::gpu::{Binding, Kernel, Recorder, kernels};
use crate::model::Weight;
use crate::tape::{Op, Tape, Var};

/// A matrix addressed by strides, in elements.
#[derive(Clone, Copy)]
struct View {
    binding: Binding,
    row: usize,
    col: usize,
}

/// A row-major matrix in some encoding: the operand that lanes spread over.
#[derive(Clone)]
struct Operand {
    encoding: Encoding,
    codes: Binding,
    scales: Option<Binding>,
}

impl Operand {
    fn dense(binding: Binding) -> Self {
        Self { encoding: Encoding::F32, codes: binding, scales: None }
    }
}

/// Which way `b` is read: `[cols, depth]` or `[depth, cols]`.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Nt,
    Nn,
}

/// One product `out[rows, cols] (+)= scale * a[rows, depth] * b`.
struct Product {
    layout: Layout,
    rows: usize,
    cols: usize,
    depth: usize,
    a: View,
    b: Operand,
    out: View,
    scale: f32,
    accumulate: bool,
}

impl Product {
    fn record(&self, list: &mut Recorder) {
        let one_row = self.rows == 1;
        let kernel: &'static Kernel = match (self.layout, self.b.encoding, one_row) {
            (Layout::Nt, Encoding::Q4, false) => &kernels::MATMUL_NT_Q4,
            (Layout::Nt, Encoding::Q4, true) => &kernels::MATMUL_NT_Q4_ROW,
            (Layout::Nt, Encoding::Q8, false) => &kernels::MATMUL_NT_Q8,
            (Layout::Nt, Encoding::Q8, true) => &kernels::MATMUL_NT_Q8_ROW,
            (Layout::Nt, Encoding::F16, false) => &kernels::MATMUL_NT_F16,
            (Layout::Nt, Encoding::F16, true) => &kernels::MATMUL_NT_F16_ROW,
            (Layout::Nt, Encoding::F32, false) => &kernels::MATMUL_NT_F32,
            (Layout::Nt, Encoding::F32, true) => &kernels::MATMUL_NT_F32_ROW,
            (Layout::Nn, Encoding::Q4, _) => &kernels::MATMUL_NN_Q4,
            (Layout::Nn, Encoding::Q8, _) => &kernels::MATMUL_NN_Q8,
            (Layout::Nn, Encoding::F16, _) => &kernels::MATMUL_NN_F16,
            (Layout::Nn, Encoding::F32, _) => &kernels::MATMUL_NN_F32,
        };
        // Tile sizes as the kernels state them.
        let (tile_rows, tile_cols) = match (self.layout, one_row) {
            (Layout::Nt, false) => (8, 32 * 6),
            (Layout::Nt, true) => (1, 32 * 2),
            (Layout::Nn, _) => (8, 24 * 8),
        };
        let params = kernels::matmul_nt::Params {
            rows: self.rows as u32,
            cols: self.cols as u32,
            depth: self.depth as u32,
            a_row: self.a.row as u32,
            a_depth: self.a.col as u32,
            out_row: self.out.row as u32,
            out_col: self.out.col as u32,
            accumulate: u32::from(self.accumulate),
            scale: self.scale,
        };
        let mut bindings = vec![self.a.binding, self.b.codes];
        bindings.extend(self.b.scales);
        bindings.push(self.out.binding);
        let groups = [self.cols.div_ceil(tile_cols) as u32, self.rows.div_ceil(tile_rows) as u32, 1];
        list.dispatch(kernel, &bindings, &params, groups);
    }
}

/// A dense matrix with at most this many rows is "narrow": its rows ride along instead of spreading over lanes.
const NARROW: usize = 64;

/// `y (+)= scale * x w^T`.
struct Linear {
    x: Var,
    y: Var,
    /// Output and input features of the weight.
    n: usize,
    k: usize,
    weight: Operand,
    grad: Option<Binding>,
    scale: f32,
    accumulate: bool,
}

impl Tape {
    /// `x w^T`: x `[T, k]`, w `[n, k]`, result `[T, n]`.
    pub fn linear(&mut self, x: Var, w: &Weight) -> Var {
        let needs_grad = self.needs_grad(x) || w.trainable();
        let y = self.var(self.rows(x), w.rows, needs_grad);
        self.push_linear(x, w, y, 1.0, false);
        y
    }

    /// `y += scale * x w^T`, in place: right after `y` was made, before anything else reads it. The gradient of `y`
    /// then flows on unchanged to what made it.
    pub fn linear_onto(&mut self, y: Var, x: Var, w: &Weight, scale: f32) {
        if self.needs_grad(x) || w.trainable() {
            self.require_grad(y);
        }
        self.push_linear(x, w, y, scale, true);
    }

    fn push_linear(&mut self, x: Var, w: &Weight, y: Var, scale: f32, accumulate: bool) {
        let (codes, scales) = w.bind(&mut self.list);
        let weight = Operand { encoding: w.encoding(), codes, scales };
        let grad = w.bind_grad(&mut self.list);
        let needs_grad = self.needs_grad(x) || w.trainable();
        self.push(Linear { x, y, n: w.rows, k: w.cols, weight, grad, scale, accumulate }, needs_grad);
    }

    /// `out[rows, n] = x w^T` on buffers that are no values of the tape: the loss head's logits.
    pub(super) fn product_nt(&mut self, rows: usize, x: Binding, w: &Weight, out: Binding) {
        let (codes, scales) = w.bind(&mut self.list);
        Product {
            layout: Layout::Nt,
            rows,
            cols: w.rows,
            depth: w.cols,
            a: View { binding: x, row: w.cols, col: 1 },
            b: Operand { encoding: w.encoding(), codes, scales },
            out: View { binding: out, row: w.rows, col: 1 },
            scale: 1.0,
            accumulate: false,
        }
        .record(&mut self.list);
    }

    /// `out[rows, k] = dy w`, likewise.
    pub(super) fn product_nn(&mut self, rows: usize, dy: Binding, w: &Weight, out: Binding) {
        let (codes, scales) = w.bind(&mut self.list);
        Product {
            layout: Layout::Nn,
            rows,
            cols: w.cols,
            depth: w.rows,
            a: View { binding: dy, row: w.rows, col: 1 },
            b: Operand { encoding: w.encoding(), codes, scales },
            out: View { binding: out, row: w.cols, col: 1 },
            scale: 1.0,
            accumulate: false,
        }
        .record(&mut self.list);
    }
}

impl Op for Linear {
    fn forward(&self, t: &mut Tape) {
        let (m, n, k) = (t.rows(self.x), self.n, self.k);
        let (x, y) = (t.value(self.x), t.value(self.y));
        let narrow = self.weight.encoding == Encoding::F32 && n <= NARROW && m > n;
        let product = if narrow {
            // y^T = w x^T: the few rows of w are shared, the tokens spread over lanes.
            Product {
                layout: Layout::Nt,
                rows: n,
                cols: m,
                depth: k,
                a: View { binding: self.weight.codes, row: k, col: 1 },
                b: Operand::dense(x.into()),
                out: View { binding: y.into(), row: 1, col: n },
                scale: self.scale,
                accumulate: self.accumulate,
            }
        } else {
            Product {
                layout: Layout::Nt,
                rows: m,
                cols: n,
                depth: k,
                a: View { binding: x.into(), row: k, col: 1 },
                b: self.weight.clone(),
                out: View { binding: y.into(), row: n, col: 1 },
                scale: self.scale,
                accumulate: self.accumulate,
            }
        };
        product.record(&mut t.list);
    }

    // y = s x w^T: dx = s dy w, dw = s dy^T x.
    fn backward(&self, t: &mut Tape) {
        let (m, n, k) = (t.rows(self.x), self.n, self.k);
        let (x, dy) = (t.value(self.x), t.grad(self.y));
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            let narrow = self.weight.encoding == Encoding::F32 && k <= NARROW && m > k;
            let (scale, accumulate) = (self.scale, accumulate != 0);
            let product = if narrow {
                // dx^T = w^T dy^T, the few columns of w as rows.
                Product {
                    layout: Layout::Nt,
                    rows: k,
                    cols: m,
                    depth: n,
                    a: View { binding: self.weight.codes, row: 1, col: k },
                    b: Operand::dense(dy.into()),
                    out: View { binding: dx.into(), row: 1, col: k },
                    scale,
                    accumulate,
                }
            } else {
                Product {
                    layout: Layout::Nn,
                    rows: m,
                    cols: k,
                    depth: n,
                    a: View { binding: dy.into(), row: n, col: 1 },
                    b: self.weight.clone(),
                    out: View { binding: dx.into(), row: k, col: 1 },
                    scale,
                    accumulate,
                }
            };
            product.record(&mut t.list);
        }
        if let Some(dw) = self.grad {
            // The narrower side of dw as rows.
            let product = if n <= k {
                Product {
                    layout: Layout::Nn,
                    rows: n,
                    cols: k,
                    depth: m,
                    a: View { binding: dy.into(), row: 1, col: n },
                    b: Operand::dense(x.into()),
                    out: View { binding: dw, row: k, col: 1 },
                    scale: self.scale,
                    accumulate: true,
                }
            } else {
                Product {
                    layout: Layout::Nn,
                    rows: k,
                    cols: n,
                    depth: m,
                    a: View { binding: x.into(), row: 1, col: k },
                    b: Operand::dense(dy.into()),
                    out: View { binding: dw, row: 1, col: k },
                    scale: self.scale,
                    accumulate: true,
                }
            };
            product.record(&mut t.list);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
