//! The ops that only tuning methods use, against the f64 reference.

use tunesmith::ops::Activation;
use tunesmith_tests::check_op::{Bench, Case, Input};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::{Matrix, activation, activation_slope};

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
    for f in [Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh, Activation::Sigmoid] {
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
