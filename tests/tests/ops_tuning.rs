//! The ops that only tuning methods use, against the f64 reference.

use tunesmith::format::encoding::Encoding;
use tunesmith::ops::{Activation, Heads, Weight};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Bench, Case, Guarded, Input, TOLERANCE, contexts, nmse, trained};
use tunesmith_tests::golden::hash::{hashed_ids, uniform};
use tunesmith_tests::reference::{Matrix, activation, activation_slope, check_gradient, lstm, lstm_backward};

/// Around a workgroup's 64, the 16 columns and rows of a column sum, their multiples, and primes.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (1, 63), (1, 64), (5, 13), (15, 16), (17, 33), (7, 97), (3, 576), (64, 65)];

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    a.zip(b, |a, b| a * b)
}

/// Every row of `x` with `row` `[1, m]` put in the place of its columns from `first` on, by `f` of both.
fn on_columns(x: &Matrix, first: usize, row: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    let mut y = x.clone();
    for t in 0..x.rows {
        y.row_mut(t)[first..][..row.data.len()].iter_mut().zip(&row.data).for_each(|(y, &w)| *y = f(*y, w));
    }
    y
}

/// The whole of `cols` columns, and pieces at the start, inside and at the end of them.
fn pieces(cols: usize) -> Vec<(usize, usize)> {
    let mut pieces = vec![(0, cols), (0, cols.div_ceil(2)), (cols / 3, cols.div_ceil(3)), (cols - 1, 1)];
    pieces.dedup();
    pieces
}

#[test]
fn parameter() {
    let mut bench = Bench::new("parameter");
    for (rows, cols) in SHAPES {
        let name = format!("{rows} x {cols}");
        let w = uniform(&format!("parameter {name}"), rows * cols, 2.0);
        bench.check(&Case {
            name: name.clone(),
            inputs: vec![Input::trained(rows, cols, w.clone())],
            build: &|t, at| t.parameter(at[0].weight()),
            forward: &|x| x[0].clone(),
            backward: &|_, dy| vec![dy.clone()],
        });
        // A value that is handed on, beside a frozen one.
        bench.check(&Case {
            name: format!("{name}, frozen"),
            inputs: vec![Input::leaf(rows, cols, w.clone()), Input::frozen_f32(rows, cols, &w)],
            build: &|t, at| {
                let w = t.parameter(at[1].weight());
                t.add(w, at[0].var())
            },
            forward: &|x| x[0].plus(&x[1]),
            backward: &|x, dy| vec![dy.clone(), x[1].clone()],
        });
    }
}

#[test]
fn scale_and_bias() {
    let mut scale = Bench::new("scale");
    let mut bias = Bench::new("bias");
    for (rows, cols) in SHAPES.into_iter().chain([(2048, 48)]) {
        for (first, width) in pieces(cols) {
            let name = format!("{rows} x {cols}, {width} from {first}");
            let x = uniform(&format!("scale {name} x"), rows * cols, 2.0);
            let w = uniform(&format!("scale {name} w"), width, 2.0);
            for (what, x, w) in [
                ("frozen", Input::leaf(rows, cols, x.clone()), Input::frozen_f32(1, width, &w)),
                ("trained", Input::leaf(rows, cols, x.clone()), Input::trained(1, width, w.clone())),
                // IA3's files hold some of their vectors standing.
                ("constant input", Input::constant(rows, cols, x), Input::trained(width, 1, w)),
            ] {
                let (w_rows, w_cols) = if what == "constant input" { (width, 1) } else { (1, width) };
                let like_w = |row: Matrix| Matrix { rows: w_rows, cols: w_cols, ..row };
                scale.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![x.clone(), w.clone()],
                    build: &|t, at| t.scale(at[0].var(), first, at[1].weight()),
                    forward: &|x| on_columns(&x[0], first, &x[1], |x, w| x * w),
                    backward: &|x, dy| {
                        let dw = product(&x[0], dy).columns(first..first + width).column_sums();
                        vec![on_columns(dy, first, &x[1], |dy, w| dy * w), like_w(dw)]
                    },
                });
                bias.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![x, w],
                    build: &|t, at| t.bias(at[0].var(), first, at[1].weight()),
                    forward: &|x| on_columns(&x[0], first, &x[1], |x, b| x + b),
                    backward: &|_, dy| vec![dy.clone(), like_w(dy.columns(first..first + width).column_sums())],
                });
            }
        }
    }
}

#[test]
fn activations() {
    let mut bench = Bench::new("activation");
    let all = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
    ];
    for f in all {
        for (rows, cols) in SHAPES {
            // Of every size: adapters begin near zero, where the slope is all there is.
            for size in [1e-4, 0.1, 1.0, 8.0] {
                let name = format!("{f:?}, {rows} x {cols}, {size:e}");
                let mut x = uniform(&format!("activation {name}"), rows * cols, size);
                // Central differences must not meet the kink of relu.
                x.iter_mut().filter(|x| x.abs() < 2e-5).for_each(|x| *x = 2e-5);
                if size == 8.0 {
                    for (x, extreme) in x.iter_mut().skip(1).step_by(5).zip([100.0, -100.0, 1e4, -1e4, 1e30, -1e30]) {
                        *x = extreme;
                    }
                }
                bench.check(&Case {
                    name,
                    inputs: vec![Input::leaf(rows, cols, x)],
                    build: &|t, at| t.activation(at[0].var(), f),
                    forward: &|x| x[0].map(|x| activation(f, x)),
                    backward: &|x, dy| vec![x[0].zip(dy, |x, dy| dy * activation_slope(f, x))],
                });
            }
        }
    }
}

#[test]
fn mul() {
    let mut bench = Bench::new("mul");
    for (rows, cols) in SHAPES {
        let name = format!("{rows} x {cols}");
        let values = |what: &str| uniform(&format!("mul {name} {what}"), rows * cols, 2.0);
        for (what, b) in
            [("both", Input::leaf(rows, cols, values("b"))), ("one", Input::constant(rows, cols, values("b")))]
        {
            bench.check(&Case {
                name: format!("{name}, {what}"),
                inputs: vec![Input::leaf(rows, cols, values("a")), b],
                build: &|t, at| t.mul(at[0].var(), at[1].var()),
                forward: &|x| product(&x[0], &x[1]),
                backward: &|x, dy| vec![product(dy, &x[1]), product(dy, &x[0])],
            });
        }
        bench.check(&Case {
            name: format!("{name}, itself"),
            inputs: vec![Input::leaf(rows, cols, values("a"))],
            build: &|t, at| t.mul(at[0].var(), at[0].var()),
            forward: &|x| product(&x[0], &x[0]),
            backward: &|x, dy| vec![product(dy, &x[0]).scaled(2.0)],
        });
    }
}

#[test]
fn scale_rows() {
    let mut bench = Bench::new("scale_rows");
    for (rows, cols) in SHAPES.into_iter().chain([(2048, 7)]) {
        for factors in [rows, 1] {
            let name = format!("{rows} x {cols}, {factors} factors");
            let x = uniform(&format!("scale_rows {name} x"), rows * cols, 2.0);
            let g = uniform(&format!("scale_rows {name} g"), factors, 2.0);
            let each = |g: &Matrix, row: usize| g.data[row.min(g.rows - 1)];
            let scaled = |x: &Matrix, g: &Matrix| {
                let mut y = x.clone();
                (0..rows).for_each(|row| y.row_mut(row).iter_mut().for_each(|y| *y *= each(g, row)));
                y
            };
            for (what, x, g) in [
                ("both", Input::leaf(rows, cols, x.clone()), Input::leaf(factors, 1, g.clone())),
                ("constant factors", Input::leaf(rows, cols, x.clone()), Input::constant(factors, 1, g.clone())),
                ("constant input", Input::constant(rows, cols, x), Input::leaf(factors, 1, g)),
            ] {
                bench.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![x, g],
                    build: &|t, at| t.scale_rows(at[0].var(), at[1].var()),
                    forward: &|x| scaled(&x[0], &x[1]),
                    backward: &|x, dy| {
                        let mut dg = Matrix::zeros(factors, 1);
                        for (row, dot) in
                            product(&x[0], dy).data.chunks(cols).map(|row| row.iter().sum::<f64>()).enumerate()
                        {
                            dg.data[row.min(factors - 1)] += dot;
                        }
                        vec![scaled(dy, &x[1]), dg]
                    },
                });
            }
        }
    }
}

#[test]
fn place_prefix() {
    let mut bench = Bench::new("place_prefix");
    let vocab = 53;
    for (rows, heads, kv_heads, head_dim, tokens) in
        [(1, 1, 1, 16, 1), (7, 3, 1, 16, 3), (65, 4, 2, 32, 5), (64, 9, 3, 64, 2)]
    {
        let (cols, width) = ((heads + 2 * kv_heads) * head_dim, 2 * kv_heads * head_dim);
        let first = cols - width;
        let name = format!("{rows} x {cols}, {tokens} x {width}");
        // Every token comes more than once or never, and there are ids past the prefix's end.
        let ids: Vec<u32> = hashed_ids(&format!("place_prefix {name}"), rows, (vocab + tokens + 1) as u64)
            .into_iter()
            .enumerate()
            .map(|(row, id)| if row % 3 == 0 { (vocab + row % 2) as u32 } else { id })
            .collect();
        let buffer = Guarded::new(&bench.context, &ids).buffer;
        let placed = || {
            let token = |(row, &id): (usize, &u32)| {
                (id as usize).checked_sub(vocab).filter(|&token| token < tokens).map(|token| (row, token))
            };
            ids.iter().enumerate().filter_map(token)
        };
        let heads = Heads { heads, kv_heads, head_dim };
        let qkv = uniform(&format!("place_prefix {name} qkv"), rows * cols, 2.0);
        let prefix = uniform(&format!("place_prefix {name} prefix"), tokens * width, 2.0);
        for (what, qkv, prefix) in [
            ("both", Input::leaf(rows, cols, qkv.clone()), Input::leaf(tokens, width, prefix.clone())),
            ("constant input", Input::constant(rows, cols, qkv.clone()), Input::leaf(tokens, width, prefix.clone())),
            ("constant prefix", Input::leaf(rows, cols, qkv), Input::constant(tokens, width, prefix)),
        ] {
            bench.check(&Case {
                name: format!("{name}, {what}"),
                inputs: vec![qkv, prefix],
                build: &|t, at| t.place_prefix(at[0].var(), &buffer, vocab, at[1].var(), heads),
                forward: &|x| {
                    let mut y = x[0].clone();
                    placed().for_each(|(row, token)| y.row_mut(row)[first..].copy_from_slice(x[1].row(token)));
                    y
                },
                backward: &|_, dy| {
                    let (mut dqkv, mut dprefix) = (dy.clone(), Matrix::zeros(tokens, width));
                    for (row, token) in placed() {
                        dqkv.row_mut(row)[first..].fill(0.0);
                        dprefix.row_mut(token).iter_mut().zip(&dy.row(row)[first..]).for_each(|(to, dy)| *to += dy);
                    }
                    vec![dqkv, dprefix]
                },
            });
        }
    }
}

#[test]
fn magnitude() {
    let mut bench = Bench::new("magnitude");
    for (rows, cols) in SHAPES.into_iter().chain([(2048, 48)]) {
        for (first, width) in pieces(cols) {
            let name = format!("{rows} x {cols}, {width} from {first}");
            let x = uniform(&format!("magnitude {name} x"), rows * cols, 2.0);
            let m = uniform(&format!("magnitude {name} m"), width, 2.0);
            let norms: Vec<f32> =
                uniform(&format!("magnitude {name} norms"), width, 1.0).iter().map(|n| n + 1.5).collect();
            for (what, x, m) in [
                ("frozen", Input::leaf(rows, cols, x.clone()), Input::frozen_f32(1, width, &m)),
                ("trained", Input::leaf(rows, cols, x.clone()), Input::trained(1, width, m.clone())),
                ("constant input", Input::constant(rows, cols, x), Input::trained(1, width, m)),
            ] {
                bench.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![x, m, Input::constant(1, width, norms.clone())],
                    build: &|t, at| t.magnitude(at[0].var(), first, at[1].weight(), at[2].var()),
                    forward: &|x| on_columns(&x[0], first, &x[1].zip(&x[2], |m, norm| m / norm), |x, w| x * w),
                    backward: &|x, dy| {
                        let dw = product(&x[0], dy).columns(first..first + width).column_sums();
                        vec![
                            on_columns(dy, first, &x[1].zip(&x[2], |m, norm| m / norm), |dy, w| dy * w),
                            dw.zip(&x[2], |dw, norm| dw / norm),
                            x[2].clone(),
                        ]
                    },
                });
            }
        }
    }
}

/// The norm of `w w^T - 1`, or of `w^T w - 1`, and its gradient.
fn penalty(w: &Matrix, columns: bool) -> (f64, Matrix) {
    let mut m = if columns { w.transposed_times(w) } else { w.times_transposed(w) };
    (0..m.rows).for_each(|i| m.row_mut(i)[i] -= 1.0);
    let norm = m.dot(&m).sqrt();
    let gradient = if columns { w.times(&m) } else { m.times(w) };
    (norm, gradient.scaled(2.0 / norm))
}

#[test]
fn orthogonality() {
    let mut worst = 0f64;
    for context in contexts() {
        for (n, r) in [(1, 1), (5, 3), (64, 8), (97, 12), (65, 64), (33, 65), (577, 17)] {
            for columns in [false, true] {
                let (rows, cols) = if columns { (n, r) } else { (r, n) };
                let name = format!("orthogonality {rows} x {cols}, columns {columns}");
                let values = uniform(&name, rows * cols, 0.7);
                let matrix = Matrix::from_f32(rows, cols, &values);
                let (norm, want) = penalty(&matrix, columns);
                check_gradient(&name, &matrix, &want, 6, |w| penalty(w, columns).0);
                let before = uniform(&format!("{name} before"), values.len(), 1.0);
                let (w, grads) = trained(&context, rows, cols, &values, &before);
                let total = Guarded::new(&context, &[2.5f32]);
                let mut t = Tape::new(&context);
                t.orthogonality(&w, columns, 0.3, &total.buffer);
                // A frozen one counts in the total alone.
                let codes = Guarded::new(&context, &values).buffer;
                let frozen = Weight::frozen("frozen", rows, cols, Encoding::F32, codes, None);
                t.orthogonality(&frozen, columns, 0.3, &total.buffer);
                let plan = t.finish(&context).unwrap();
                let run = || {
                    grads.write(&context, &before);
                    total.write(&context, &[2.5f32]);
                    plan.run(0);
                    (grads.read(&context), total.read(&context)[0])
                };
                let (once, again) = (run(), run());
                let bits =
                    |run: &(Vec<f32>, f32)| run.0.iter().chain([&run.1]).map(|v| v.to_bits()).collect::<Vec<_>>();
                assert!(bits(&once) == bits(&again), "{name}: two runs differ");
                let (got, sum) = (f64::from(once.1), 2.5 + 2.0 * f64::from(0.3f32) * norm);
                assert!(((got - sum) / sum).abs() < 1e-5, "{name}: a total of {got}, not {sum}");
                let got = Matrix::from_f32(rows, cols, &once.0);
                let got = got.zip(&Matrix::from_f32(rows, cols, &before), |after, before| after - before);
                let want = want.scaled(f64::from(0.3f32));
                let error = nmse(&got, &want, &want);
                assert!(error <= TOLERANCE, "{name}: an error of {error:.1e}");
                worst = worst.max(error);
                context.check().unwrap();
            }
        }
        // Already orthogonal: nothing to add, and no slope.
        let one: Vec<f32> = (0..64).map(|i| f32::from(u8::from(i % 9 == 0))).collect();
        let (w, grads) = trained(&context, 8, 8, &one, &[0.5; 64]);
        let total = Guarded::new(&context, &[2.5f32]);
        let mut t = Tape::new(&context);
        t.orthogonality(&w, false, 0.3, &total.buffer);
        t.orthogonality(&w, true, 0.3, &total.buffer);
        t.finish(&context).unwrap().run(0);
        assert_eq!((grads.read(&context), total.read(&context)), (vec![0.5; 64], vec![2.5]));
    }
    eprintln!("orthogonality: worst NMSE {worst:.1e}");
}

#[test]
fn lstm_op() {
    for mut bench in Bench::all("lstm") {
        // Fewer units than a workgroup's 256 lanes, and more.
        for (rows, hidden) in [(1, 1), (1, 7), (2, 16), (5, 33), (20, 64), (3, 255), (4, 257)] {
            for reverse in [false, true] {
                let name = format!("{rows} x {hidden}, reverse {reverse}");
                let x = uniform(&format!("lstm {name} x"), rows * 4 * hidden, 2.0);
                // PyTorch begins within 1 / sqrt(H).
                let w = uniform(&format!("lstm {name} w"), 4 * hidden * hidden, 2.0 / (hidden as f32).sqrt());
                for (what, x, w) in [
                    ("both", Input::leaf(rows, 4 * hidden, x.clone()), Input::trained(4 * hidden, hidden, w.clone())),
                    ("frozen", Input::leaf(rows, 4 * hidden, x.clone()), Input::frozen_f32(4 * hidden, hidden, &w)),
                    ("constant input", Input::constant(rows, 4 * hidden, x), Input::trained(4 * hidden, hidden, w)),
                ] {
                    bench.check(&Case {
                        name: format!("{name}, {what}"),
                        inputs: vec![x, w],
                        build: &|t, at| t.lstm(at[0].var(), at[1].weight(), reverse),
                        forward: &|x| lstm(&x[0], &x[1], reverse),
                        backward: &|x, dy| lstm_backward(&x[0], &x[1], reverse, dy).into(),
                    });
                }
            }
        }
    }
}

#[test]
fn beside() {
    let mut bench = Bench::new("beside");
    for (rows, cols) in SHAPES {
        for other in [1, cols, 65] {
            let name = format!("{rows} x {cols} and {other}");
            let a = uniform(&format!("beside {name} a"), rows * cols, 2.0);
            let b = uniform(&format!("beside {name} b"), rows * other, 2.0);
            for (what, a, b) in [
                ("both", Input::leaf(rows, cols, a.clone()), Input::leaf(rows, other, b.clone())),
                ("one", Input::constant(rows, cols, a), Input::leaf(rows, other, b)),
            ] {
                bench.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![a, b],
                    build: &|t, at| t.beside(at[0].var(), at[1].var()),
                    forward: &|x| x[0].beside(&x[1]),
                    backward: &|_, dy| vec![dy.columns(0..cols), dy.columns(cols..cols + other)],
                });
            }
        }
    }
    let x = uniform("beside itself", 65, 1.0);
    bench.check(&Case {
        name: "itself".into(),
        inputs: vec![Input::leaf(5, 13, x)],
        build: &|t, at| t.beside(at[0].var(), at[0].var()),
        forward: &|x| x[0].beside(&x[0]),
        backward: &|_, dy| vec![dy.columns(0..13).plus(&dy.columns(13..26))],
    });
}
