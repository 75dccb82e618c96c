//! Matrix products on buffers: what linear layers, their gradients and the loss head are made of.

use crate::format::encoding::Encoding;
use crate::gpu::{Binding, BufferId, Form, Kernel, Recorder, Tunable, kernels, spread, stride};

/// A matrix addressed by strides, in elements, from element `at` of its binding.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub binding: Binding,
    pub at: usize,
    pub row: usize,
    pub col: usize,
}

impl View {
    /// A row-major matrix with rows of `cols`.
    pub fn rows(binding: impl Into<Binding>, cols: usize) -> Self {
        Self { binding: binding.into(), at: 0, row: cols, col: 1 }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }

    /// The matrix from row `row` on.
    pub fn skip_rows(self, row: usize) -> Self {
        Self { at: self.at + row * self.row, ..self }
    }

    /// Whether its rows, `cols` long, can be read in vec4.
    pub fn in_fours(&self, cols: usize) -> bool {
        self.col == 1 && [self.at, self.row, cols].iter().all(|n| n.is_multiple_of(4))
    }

    /// The matrix from column `col` on.
    pub fn skip_cols(self, col: usize) -> Self {
        Self { at: self.at + col * self.col, ..self }
    }
}

/// A row-major matrix in some encoding: the operand that lanes spread over.
#[derive(Clone)]
pub(super) struct Operand {
    pub encoding: Encoding,
    pub codes: Binding,
    pub scales: Option<Binding>,
}

impl Operand {
    /// Plain numbers.
    pub fn dense(binding: impl Into<Binding>) -> Self {
        Self { encoding: Encoding::F32, codes: binding.into(), scales: None }
    }

    fn bind(&self, bindings: &mut Vec<Binding>) {
        bindings.push(self.codes);
        bindings.extend(self.scales);
    }
}

/// Rows and columns of `out` that one workgroup computes, as the kernels state them.
type TileSize = (usize, usize);

/// The variant of a form, with its tile: `plain`'s, and the columns of subgroups of 8 and of 4 lanes. `in_fours`: whether
/// the operands can be read in vec4.
fn variant(
    form: Form,
    lanes: u32,
    in_fours: bool,
    plain: TileSize,
    [sg8, sg4]: [usize; 2],
) -> (&'static str, TileSize) {
    match (form, lanes) {
        (Form::Subgroup, 8) => (if in_fours { "_sg8_v4" } else { "_sg8" }, (16, sg8)),
        (Form::Subgroup, _) => ("_sg4", (16, sg4)),
        (Form::Small, _) if in_fours => ("_small_v4", (32, 64)),
        (Form::Tile, _) if in_fours => ("_tile_v4", (64, 64)),
        (Form::Small | Form::Tile, _) => ("_tile", (64, 64)),
        (Form::Plain, _) => ("", plain),
    }
}

/// The variant for a GPU's matrix units, with its tile.
const MATRIX: (&str, TileSize) = ("_matrix", (64, 64));
/// What gradients are multiplied by to be halves, which end at 6e-8 and 65504: a row's share of the loss is as small as one
/// in thousands.
const GRADIENT_SCALE: f32 = 4096.0;

/// The low-rank part that rides along in `nt`: `scale * low b^T` for the segments of columns that have one.
#[derive(Clone, Copy)]
pub(super) struct LowPart {
    /// `[rows, all ranks]`.
    pub low: BufferId,
    /// Columns of `low`.
    pub low_cols: usize,
    /// The rows of b of the segments that have some, `[_, rank]`.
    pub b: Binding,
    /// The row of b that the first segment starts with.
    pub b_row: usize,
    pub rank: usize,
    pub scale: f32,
}

/// `out[rows, cols] = a[rows, depth] * b[cols, depth]^T`, with what may ride along.
pub(super) struct Nt {
    pub rows: usize,
    /// Columns of each segment, and where its columns of `low` start, if it has some.
    pub segments: Vec<(usize, Option<usize>)>,
    pub depth: usize,
    pub a: View,
    pub b: Operand,
    pub out: View,
    pub low: Option<LowPart>,
    /// Added to the result; laid out like `out`.
    pub residual: Option<BufferId>,
}

impl Nt {
    pub fn record(&self, list: &mut Recorder) {
        let encoding = self.b.encoding;
        let (rows, depth) = (self.rows, self.depth);
        let in_fours = self.a.in_fours(depth);
        let (variant, (tile_rows, tile_cols)) = if rows == 1 {
            match list.subgroup() {
                8 if in_fours => ("_row_sg8", (1, 8 * 3)),
                4 => ("_row_sg4", (1, 4 * 12)),
                _ => ("_row", (1, 32 * 2)),
            }
        } else if rows <= FEW && (list.subgroup() == 4 || list.subgroup() == 8 && in_fours) {
            if list.subgroup() == 8 { ("_few_sg8", (FEW, 8 * 12)) } else { ("_few_sg4", (FEW, 4 * 12)) }
        } else {
            let cols = self.segments.iter().map(|&(cols, _)| cols).collect();
            if in_fours && list.half() {
                MATRIX
            } else {
                let form = list.form(Tunable::Product { straight: false, encoding, rows, cols, depth });
                variant(form, list.subgroup(), in_fours, (8, 32 * 6), [8 * 12, 4 * 12])
            }
        };
        let kernel = Kernel::named(&format!("matmul_nt_{}{variant}", encoding.name()));
        let segment = |i: usize| self.segments.get(i).copied().unwrap_or((0, None));
        let low_at = |i: usize| segment(i).1.map_or(u32::MAX, |at| at as u32);
        let low = self.low;
        let params = kernels::matmul_nt::Params {
            rows: self.rows as u32,
            cols0: segment(0).0 as u32,
            cols1: segment(1).0 as u32,
            cols2: segment(2).0 as u32,
            depth: self.depth as u32,
            a_at: self.a.at as u32,
            a_row: self.a.row as u32,
            a_depth: self.a.col as u32,
            out_at: self.out.at as u32,
            out_row: self.out.row as u32,
            out_col: self.out.col as u32,
            residual: u32::from(self.residual.is_some()),
            rank: low.map_or(0, |low| low.rank as u32),
            low_row: low.map_or(0, |low| low.low_cols as u32),
            low0: low_at(0),
            low1: low_at(1),
            low2: low_at(2),
            low_b_row: low.map_or(0, |low| low.b_row as u32),
            low_scale: low.map_or(0.0, |low| low.scale),
            half_scale: 1.0,
        };
        // What does not ride along is not read; `a` stands in.
        let residual = self.residual.map_or(self.a.binding, Into::into);
        let (values, b) = low.map_or((self.a.binding, self.a.binding), |low| (low.low.into(), low.b));
        let mut bindings = vec![self.a.binding, residual, values, b];
        self.b.bind(&mut bindings);
        bindings.push(self.out.binding);
        let all: usize = self.segments.iter().map(|(cols, _)| cols).sum();
        list.weigh(2.0 * (self.rows * all) as f64 * (self.depth + low.map_or(0, |low| low.rank)) as f64);
        let tiles: usize = self.segments.iter().map(|(cols, _)| cols.div_ceil(tile_cols)).sum();
        list.dispatch(kernel, &bindings, &params, [tiles as u32, self.rows.div_ceil(tile_rows) as u32, 1]);
    }
}

/// `out[rows, cols] (+)= a[rows, depth] * b[depth, cols]`, and `low[rows, rank] * low_a[rank, cols]` with it. With `gated`,
/// what SwiGLU was made of, that is the gradient of SwiGLU's output and `out[rows, 2 cols]` becomes that of its input.
pub(super) struct Nn {
    pub rows: usize,
    pub cols: usize,
    pub depth: usize,
    pub a: View,
    pub b: Operand,
    pub out: View,
    pub accumulate: bool,
    pub low: Option<(BufferId, Binding, usize)>,
    /// Cannot accumulate.
    pub gated: Option<BufferId>,
}

impl Nn {
    pub fn record(&self, list: &mut Recorder) {
        let (encoding, rows, depth) = (self.b.encoding, self.rows, self.depth);
        let in_fours = self.a.in_fours(depth) && self.cols.is_multiple_of(8);
        let (variant, (tile_rows, tile_cols)) = if in_fours && list.half() {
            MATRIX
        } else {
            let form = list.form(Tunable::Product { straight: true, encoding, rows, cols: vec![self.cols], depth });
            variant(form, list.subgroup(), in_fours, (8, 24 * 8), [8 * 8, 4 * 16])
        };
        let kernel = Kernel::named(&format!("matmul_nn_{}{variant}", encoding.name()));
        let split = self.split(list);
        let parts = depth.div_ceil(split);
        let out = match parts {
            1 => self.out,
            // The parts stand one behind another until they are added up.
            _ => View::rows(list.planned(parts * rows * self.cols), self.cols),
        };
        let params = kernels::matmul_nn::Params {
            rows: self.rows as u32,
            cols: self.cols as u32,
            depth: self.depth as u32,
            a_at: self.a.at as u32,
            a_row: self.a.row as u32,
            a_depth: self.a.col as u32,
            out_row: out.row as u32,
            out_col: out.col as u32,
            accumulate: u32::from(self.accumulate && parts == 1),
            rank: self.low.map_or(0, |(_, _, rank)| rank as u32),
            split: split as u32,
            gated: u32::from(self.gated.is_some()),
            half_scale: GRADIENT_SCALE,
        };
        // What does not ride along is not read; `a` stands in.
        let (low, low_a) = self.low.map_or((self.a.binding, self.a.binding), |(low, a, _)| (low.into(), a));
        let gate_up = self.gated.map_or(self.a.binding, Into::into);
        let mut bindings = vec![self.a.binding, low, low_a, gate_up];
        self.b.bind(&mut bindings);
        bindings.push(out.binding);
        let depth = self.depth + self.low.map_or(0, |(_, _, rank)| rank);
        list.weigh(2.0 * (self.rows * self.cols) as f64 * depth as f64);
        let groups = [self.cols.div_ceil(tile_cols), self.rows.div_ceil(tile_rows), parts].map(|n| n as u32);
        list.dispatch(kernel, &bindings, &params, groups);
        if parts > 1 {
            let params = kernels::matmul_sum::Params {
                rows: self.rows as u32,
                cols: self.cols as u32,
                parts: parts as u32,
                out_row: self.out.row as u32,
                out_col: self.out.col as u32,
                accumulate: u32::from(self.accumulate),
            };
            list.dispatch(
                &kernels::MATMUL_SUM,
                &[out.binding, self.out.binding],
                &params,
                spread(self.rows * self.cols),
            );
        }
    }

    /// What one workgroup takes of the depth: all of it on a processor, and on a GPU where there are many rows; else a part,
    /// so that few rows keep the GPU busy, too. The form plays no part in it, nor how many the few rows are: the bits of a
    /// row hang on neither.
    fn split(&self, list: &Recorder) -> usize {
        let whole = list.subgroup() > 0 || self.gated.is_some() || self.rows > FEW_ROWS;
        let parts = if whole { 1 } else { (WORKGROUPS / self.cols.div_ceil(64)).max(1) };
        self.depth.div_ceil(parts.min((self.depth / LEAST).max(1))).next_multiple_of(BLOCK)
    }
}

/// Rows of the kernels for few of them, which generation has.
const FEW: usize = 8;
/// Terms that are worth a workgroup of their own.
const LEAST: usize = 768;
/// The terms between which a depth may be split.
const BLOCK: usize = 32;
/// Workgroups that keep most GPUs busy.
const WORKGROUPS: usize = 256;
/// Rows that are few: more fill most GPUs whatever the depth.
const FEW_ROWS: usize = 512;

/// One pair of matrices of a skinny product: `l[depth, i]`, `z[depth, cols]` and their result `out[i, cols]`.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub l: View,
    pub z: View,
    /// Strides of the result.
    pub out_row: usize,
    pub out_col: usize,
    pub scale: f32,
}

/// One product of a skinny dispatch.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Which pair: 0 or 1.
    pub pair: usize,
    pub depth: usize,
    /// Rows i of the result.
    pub width: usize,
    pub cols: usize,
    /// Where each starts behind its view's own start, in elements.
    pub l_at: usize,
    pub z_at: usize,
    pub out_at: usize,
}

/// `out[i, c] (+)= scale * sum_p l[p, i] z[p, c]` for few i: up to four entries of one or two pairs in one dispatch.
pub(super) struct Skinny {
    pub pairs: [Pair; 2],
    pub entries: Vec<Entry>,
    pub out: Binding,
    pub accumulate: bool,
}

impl Skinny {
    /// Whether every z can be read in vec4 along the direction with the first of `strides`, which has `count` numbers.
    fn in_fours(&self, strides: fn(&View) -> (usize, usize), count: fn(&Entry) -> usize) -> bool {
        self.entries.iter().all(|entry| {
            let z = self.pairs[entry.pair].z;
            let (along, across) = strides(&z);
            along == 1 && [across, z.at + entry.z_at, count(entry)].iter().all(|n| n % 4 == 0)
        })
    }

    pub fn record(&self, list: &mut Recorder) {
        let deep = self.in_fours(|z| (z.row, z.col), |entry| entry.depth);
        let wide = self.in_fours(|z| (z.col, z.row), |entry| entry.cols);
        let (kernel, tile_cols) = match list.subgroup() {
            8 if deep => (&kernels::MATMUL_SKINNY_SG8_DEEP, 8 * 8),
            8 if wide => (&kernels::MATMUL_SKINNY_SG8_WIDE, 8 * 8),
            4 => (&kernels::MATMUL_SKINNY_SG4, 4 * 4),
            0 if deep => (&kernels::MATMUL_SKINNY_DEEP, 8 * 2),
            0 if wide => (&kernels::MATMUL_SKINNY_WIDE, 8 * 4),
            _ => (&kernels::MATMUL_SKINNY_PLAIN, 32 * 4),
        };
        let tile_rows = 16;
        let [first, second] = self.pairs;
        // Those that are not there have no tile.
        let mut entries = [[0, 0, 0, u32::MAX]; 8];
        let mut tiles = 0;
        for (i, entry) in self.entries.iter().enumerate() {
            let Pair { l, z, .. } = self.pairs[entry.pair];
            entries[2 * i] = [entry.depth, entry.cols, l.at + entry.l_at, z.at + entry.z_at].map(|x| x as u32);
            entries[2 * i + 1] = [entry.out_at, entry.width, entry.pair, tiles].map(|x| x as u32);
            tiles += entry.width.div_ceil(tile_rows) * entry.cols.div_ceil(tile_cols);
        }
        let params = kernels::matmul_skinny::Params {
            entries,
            l0_p: first.l.row as u32,
            l0_i: first.l.col as u32,
            z0_p: first.z.row as u32,
            z0_c: first.z.col as u32,
            out0_i: first.out_row as u32,
            out0_c: first.out_col as u32,
            l1_p: second.l.row as u32,
            l1_i: second.l.col as u32,
            z1_p: second.z.row as u32,
            z1_c: second.z.col as u32,
            out1_i: second.out_row as u32,
            out1_c: second.out_col as u32,
            accumulate: u32::from(self.accumulate),
            scale0: first.scale,
            scale1: second.scale,
            stride: stride(tiles),
        };
        let bindings = [first.l.binding, first.z.binding, second.l.binding, second.z.binding, self.out];
        let work = |entry: &Entry| 2.0 * (entry.width * entry.cols) as f64 * entry.depth as f64;
        list.weigh(self.entries.iter().map(work).sum());
        list.dispatch(kernel, &bindings, &params, [tiles as u32, 1, 1]);
    }
}
