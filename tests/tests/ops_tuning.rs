//! The ops that only tuning methods use, against the f64 reference.

use tunesmith_tests::check_op::{Bench, Case, Input};
use tunesmith_tests::golden::hash::uniform;

/// Around a workgroup's 64, the 16 columns and rows of a column sum, their multiples, and primes.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (1, 63), (1, 64), (5, 13), (15, 16), (17, 33), (7, 97), (3, 576), (64, 65)];

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
