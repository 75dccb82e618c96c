//! Linear layers over every encoding, both ways, against the f64 reference.

use tunesmith::format::ggml::GgmlType;
use tunesmith::ops::LowRank;
use tunesmith_tests::blocks::CODED;
use tunesmith_tests::check_op::{Bench, Case, Input};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::Matrix;

/// How a frozen weight is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    /// In the blocks of a file.
    File(GgmlType),
    /// Quantized when it was loaded.
    Nf4,
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(ty) => ty.fmt(f),
            Self::Nf4 => f.write_str("NF4"),
        }
    }
}

fn quantized_types() -> impl Iterator<Item = Stored> {
    CODED.into_iter().map(Stored::File).chain([Stored::Nf4])
}

fn frozen(n: usize, k: usize, stored: Stored, values: &[f32]) -> Input {
    match stored {
        Stored::File(ty) => Input::of_type(n, k, ty, values),
        Stored::Nf4 => Input::nf4(n, k, values),
    }
}

/// `x w^T` with x `[m, k]`.
fn check(bench: &mut Bench, what: &str, m: usize, x: Vec<f32>, w: Input) {
    let k = x.len() / m;
    bench.check(&Case {
        name: format!("{what}, {m} rows"),
        inputs: vec![Input::leaf(m, k, x), w],
        build: &|t, at| t.linear(at[0].var(), at[1].weight()),
        forward: &|x| x[0].times_transposed(&x[1]),
        backward: &|x, dy| vec![dy.times(&x[1]), dy.transposed_times(&x[0])],
    });
}

/// Frozen weights of one type in shapes around the tiles (8 rows, 192 columns, 64 in the one-row kernel; 32 rows, where
/// they are nearly a multiple of that and every four numbers can be read together).
fn check_shapes(bench: &mut Bench, ty: Stored, shapes: &[(usize, usize, usize)]) {
    for &(m, n, k) in shapes {
        let name = format!("{ty} {n} x {k}");
        let x = uniform(&format!("{name} x"), m * k, 1.0);
        let w = uniform(&format!("{name} w"), n * k, 0.5);
        check(bench, &name, m, x, frozen(n, k, ty, &w));
    }
}

#[test]
fn quantized() {
    for mut bench in Bench::all("linear, quantized") {
        for ty in quantized_types() {
            let whole_blocks = |shape: &(usize, usize, usize)| match ty {
                Stored::File(ty) => shape.2.is_multiple_of(ty.block_len()),
                Stored::Nf4 => true,
            };
            let shapes = [
                (1, 1, 32),
                (1, 63, 64),
                (1, 65, 96),
                (7, 191, 32),
                (8, 192, 192),
                (9, 193, 224),
                (13, 97, 576),
                (67, 5, 64),
                (61, 132, 64),
                (1, 61, 256),
                (5, 62, 512),
                (61, 132, 256),
            ];
            check_shapes(&mut bench, ty, &shapes.into_iter().filter(whole_blocks).collect::<Vec<_>>());
        }
    }
}

#[test]
fn halves() {
    for mut bench in Bench::all("linear, f16") {
        let shapes = [
            (1, 1, 4),
            (1, 63, 28),
            (1, 65, 36),
            (7, 191, 12),
            (8, 192, 192),
            (9, 193, 196),
            (13, 97, 100),
            (67, 5, 8),
            (61, 132, 44),
        ];
        check_shapes(&mut bench, Stored::File(GgmlType::F16), &shapes);
        // Halves below the normal range, of which a GPU may make zeros but ours must not.
        let w = uniform("subnormal halves", 97 * 36, 4e-5);
        check(
            &mut bench,
            "subnormal",
            9,
            uniform("subnormal halves x", 9 * 36, 1.0),
            frozen(97, 36, Stored::File(GgmlType::F16), &w),
        );
    }
}

#[test]
fn plain() {
    for mut bench in Bench::all("linear, f32") {
        let shapes = [
            (1, 1, 1),
            (1, 65, 31),
            (2, 3, 1),
            (3, 1, 5),
            (7, 191, 15),
            (8, 192, 32),
            (9, 193, 33),
            (8, 33, 191),
            (9, 17, 193),
            (31, 97, 577),
            (67, 131, 16),
            (61, 132, 41),
        ];
        check_shapes(&mut bench, Stored::File(GgmlType::F32), &shapes);
    }
}

#[test]
fn trained() {
    for mut bench in Bench::all("linear, trained") {
        let shapes =
            [(1, 1, 1), (1, 65, 31), (3, 5, 7), (8, 192, 16), (9, 193, 17), (15, 33, 193), (16, 97, 97), (67, 131, 96)];
        for (m, n, k) in shapes {
            let name = format!("{n} x {k}");
            let x = uniform(&format!("trained {name} x"), m * k, 1.0);
            let w = uniform(&format!("trained {name} w"), n * k, 0.5);
            check(&mut bench, &name, m, x.clone(), Input::trained(n, k, w.clone()));
            // The input of the first layer wants no gradient.
            bench.check(&Case {
                name: format!("{name}, {m} rows, constant input"),
                inputs: vec![Input::constant(m, k, x), Input::trained(n, k, w)],
                build: &|t, at| t.linear(at[0].var(), at[1].weight()),
                forward: &|x| x[0].times_transposed(&x[1]),
                backward: &|x, dy| vec![x[0].clone(), dy.transposed_times(&x[0])],
            });
        }
    }
}

#[test]
fn narrow() {
    for mut bench in Bench::all("linear, narrow") {
        for r in [1, 3, 4, 16, 63, 64, 65] {
            for m in [1, r, r + 1, 71] {
                for (n, k) in [(r, 96), (97, r)] {
                    let name = format!("{n} x {k}");
                    let x = uniform(&format!("narrow {name} x"), m * k, 1.0);
                    let w = uniform(&format!("narrow {name} w"), n * k, 0.5);
                    check(&mut bench, &name, m, x, Input::trained(n, k, w));
                }
            }
        }
    }
}

/// Layers side by side with low-rank pairs beside some, and a residual: q, k and v, gate and up, and the others.
struct Grouped {
    rows: usize,
    k: usize,
    /// Output features of each layer, its encoding, and whether it has a pair.
    layers: Vec<(usize, Stored, bool)>,
    /// Whether the layers are one matrix.
    joined: bool,
    rank: usize,
    scale: f32,
    residual: bool,
    /// Whether A reads something else than the layers.
    apart: bool,
    /// Whether the input wants a gradient.
    constant: bool,
}

fn check_grouped(bench: &mut Bench, case: &Grouped) {
    let &Grouped { rows, k, joined, rank, scale, residual, apart, constant, .. } = case;
    let layers = &case.layers;
    let n: usize = layers.iter().map(|layer| layer.0).sum();
    let name = format!(
        "{rows} rows, {:?} x {k}, joined {joined}, rank {rank}, residual {residual}, apart {apart}, constant {constant}",
        layers.iter().map(|(n, ty, low)| format!("{n} {ty} {low}")).collect::<Vec<_>>()
    );
    let values = |what: &str, count| uniform(&format!("grouped {name} {what}"), count, 1.0);
    let value = |what: &str, cols| {
        let values = values(what, rows * cols);
        if constant { Input::constant(rows, cols, values) } else { Input::leaf(rows, cols, values) }
    };
    let with_pair: Vec<usize> = layers.iter().filter(|layer| layer.2).map(|layer| layer.0).collect();
    let (ranks, b_rows) = (rank * with_pair.len(), with_pair.iter().sum());
    let mut inputs = vec![
        value("x", k),
        Input::leaf(rows, n, values("residual", rows * n)),
        value("x of A", k),
        Input::trained(ranks, k, values("a", ranks * k)),
        Input::trained_after(b_rows, rank, values("b", b_rows * rank)),
    ];
    if joined {
        inputs.push(frozen(n, k, layers[0].1, &values("w", n * k)));
    } else {
        inputs.extend(
            layers.iter().enumerate().map(|(i, &(n, ty, _))| frozen(n, k, ty, &values(&format!("w{i}"), n * k))),
        );
    }
    // Column ranges of the layers with a pair, in the result and in B's rows.
    let parts = || {
        let (mut first, mut row) = (0, 0);
        layers.iter().filter_map(move |&(n, _, low)| {
            let at = first;
            first += n;
            if !low {
                return None;
            }
            row += n;
            Some((at..at + n, row - n..row))
        })
    };
    let rows_of = |m: &Matrix, range: std::ops::Range<usize>| Matrix {
        rows: range.len(),
        cols: m.cols,
        data: m.data[range.start * m.cols..range.end * m.cols].to_vec(),
    };
    let all_weights = |x: &[Matrix]| {
        let data = x[5..].iter().flat_map(|w| w.data.iter().copied()).collect();
        Matrix { rows: n, cols: k, data }
    };
    let of_a = if apart { 2 } else { 0 };
    bench.check(&Case {
        name: name.clone(),
        inputs,
        build: &|t, at| {
            let weights: Vec<_> = at[5..].iter().map(|w| w.weight().clone()).collect();
            let low = LowRank {
                x: at[of_a].var(),
                a: at[3].weight(),
                b: at[4].weight(),
                rank,
                segments: layers.iter().map(|&(n, _, low)| (n, low)).collect(),
                scale,
            };
            t.linears(at[0].var(), &weights, Some(&low), residual.then(|| at[1].var()))
        },
        forward: &|x| {
            let mut y = x[0].times_transposed(&all_weights(x));
            let low = x[of_a].times_transposed(&x[3]).scaled(f64::from(scale));
            for (i, (cols, b)) in parts().enumerate() {
                let part = low.columns(i * rank..(i + 1) * rank).times_transposed(&rows_of(&x[4], b));
                for row in 0..rows {
                    for (j, col) in cols.clone().enumerate() {
                        y.row_mut(row)[col] += part.row(row)[j];
                    }
                }
            }
            if residual { y.plus(&x[1]) } else { y }
        },
        backward: &|x, dy| {
            let s = f64::from(scale);
            let low = x[of_a].times_transposed(&x[3]);
            let mut dlow = Matrix::zeros(rows, 0);
            let mut db = Matrix { rows: 0, cols: rank, data: Vec::new() };
            for (i, (cols, b)) in parts().enumerate() {
                let dy = dy.columns(cols).scaled(s);
                dlow = dlow.beside(&dy.times(&rows_of(&x[4], b)));
                let part = dy.transposed_times(&low.columns(i * rank..(i + 1) * rank));
                db.rows += part.rows;
                db.data.extend(part.data);
            }
            let dx_low = dlow.times(&x[3]);
            let dx = dy.times(&all_weights(x));
            let none = Matrix::zeros(rows, k);
            let (dx, dx_apart) = if apart { (dx, dx_low) } else { (dx.plus(&dx_low), none) };
            let dresidual = if residual { dy.clone() } else { Matrix::zeros(rows, n) };
            let mut all = vec![dx, dresidual, dx_apart, dlow.transposed_times(&x[of_a]), db];
            all.extend(x[5..].iter().cloned());
            all
        },
    });
}

#[test]
fn grouped() {
    use Stored::Nf4;
    let [f16, f32, q4_0, q4_1, q8_0] =
        [GgmlType::F16, GgmlType::F32, GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0].map(Stored::File);
    for mut bench in Bench::all("linears") {
        let base = Grouped {
            rows: 9,
            k: 96,
            layers: vec![(193, q4_1, true)],
            joined: true,
            rank: 16,
            scale: 0.5,
            residual: false,
            apart: false,
            constant: false,
        };
        check_grouped(&mut bench, &base);
        check_grouped(&mut bench, &Grouped { residual: true, ..base });
        let base = || Grouped { layers: vec![(193, q4_1, true)], ..base };
        check_grouped(&mut bench, &Grouped { constant: true, rank: 1, rows: 67, scale: -1.5, ..base() });
        check_grouped(&mut bench, &Grouped { apart: true, residual: true, rank: 65, rows: 13, k: 576, ..base() });
        // So many features that a GPU splits what it sums over.
        check_grouped(&mut bench, &Grouped { k: 64, layers: vec![(1100, q4_1, true), (1060, q4_1, true)], ..base() });
        check_grouped(&mut bench, &Grouped { k: 64, layers: vec![(4130, f32, true)], rank: 3, ..base() });
        // More rows and features than one block of a depth, and neither a multiple of it.
        for rank in [16, 5] {
            let layers = vec![(132, f32, true), (36, f32, true)];
            check_grouped(&mut bench, &Grouped { rows: 135, k: 260, layers, rank, ..base() });
        }
        for (i, lows) in [[true, true, true], [true, false, true], [false, true, false], [false, false, true]]
            .into_iter()
            .enumerate()
        {
            let layers = |types: [Stored; 3]| {
                [130, 33, 65].into_iter().zip(types).zip(lows).map(|((n, ty), low)| (n, ty, low)).collect()
            };
            let rows = [17, 1, 33, 16][i];
            let rank = [16, 4, 3, 17][i];
            let together = layers([[q8_0, q4_0, f16, f32][i]; 3]);
            check_grouped(&mut bench, &Grouped { rows, rank, layers: together, residual: i % 2 == 0, ..base() });
            let apart = layers([q4_1, q8_0, f32]);
            check_grouped(&mut bench, &Grouped { rows, rank, layers: apart, joined: false, ..base() });
            // Where every four numbers can be read together.
            let fours = |types: [Stored; 3]| {
                [132, 36, 64].into_iter().zip(types).zip(lows).map(|((n, ty), low)| (n, ty, low)).collect()
            };
            for types in [[q4_1, q8_0, f32], [[Nf4, q4_0, f16, q8_0][i]; 3]] {
                let rows = [61, 30, 32, 95][i];
                let case = Grouped { rows, rank, layers: fours(types), residual: i % 2 == 0, ..base() };
                check_grouped(&mut bench, &Grouped { joined: types[0] == types[2], ..case });
            }
            let nf4 = layers([Nf4; 3]);
            check_grouped(&mut bench, &Grouped { rows, rank, layers: nf4, residual: i % 2 == 1, ..base() });
        }
    }
}

#[test]
fn odd_values() {
    for mut bench in Bench::all("linear, odd values") {
        let (m, n, k) = (9, 97, 64);
        // Zero rows on both sides.
        let mut x = uniform("zero rows x", m * k, 1.0);
        x[..2 * k].fill(0.0);
        let mut w = uniform("zero rows w", n * k, 1.0);
        w[k..3 * k].fill(0.0);
        for ty in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0, GgmlType::Q5_1, GgmlType::F16, GgmlType::F32]
            .map(Stored::File)
            .into_iter()
            .chain([Stored::Nf4])
        {
            check(&mut bench, &format!("zero rows, {ty}"), m, x.clone(), frozen(n, k, ty, &w));
        }
        // f16 scales below the normal range, with their signs.
        for ty in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0] {
            let mut blocks = frozen(n, k, Stored::File(ty), &uniform("subnormal scales", n * k, 1.0)).blocks().to_vec();
            for (i, block) in blocks.chunks_exact_mut(ty.block_bytes()).enumerate() {
                let sign = if i % 3 == 0 { 0x8000 } else { 0 };
                block[..2].copy_from_slice(&((1 + i as u16 * 7 % 1023) | sign).to_le_bytes());
                if ty == GgmlType::Q4_1 {
                    block[2..4].copy_from_slice(&(1 + i as u16 * 13 % 1023).to_le_bytes());
                }
            }
            check(&mut bench, &format!("subnormal scales, {ty}"), m, x.clone(), Input::frozen(n, k, ty, blocks));
        }
    }
}
