//! The directions that DoRA's magnitudes scale, against the f64 reference.

use tunesmith::format::ggml::GgmlType;
use tunesmith::ops::{Direction, Weight};
use tunesmith::tape::Tape;
use tunesmith_tests::blocks::CODED;
use tunesmith_tests::check_op::{Bench, Case, Guarded, Input, context, trained};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::Matrix;

/// The norms of the rows of `w + scale b a`, `[1, n]`.
fn row_norms(w: &Matrix, a: &Matrix, b: &Matrix, scale: f64) -> Matrix {
    let moved = w.plus(&b.times(a).scaled(scale));
    let norms = (0..w.rows).map(|row| moved.row(row).iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    Matrix { rows: 1, cols: w.rows, data: norms }
}

/// All rows of a weight and its pair.
fn whole<'a>(w: &'a Weight, a: &'a Weight, b: &'a Weight, scale: f32) -> Direction<'a> {
    Direction { w, first: 0, rows: w.rows, a, a_row: 0, b, b_row: 0, rank: a.rows, scale }
}

#[test]
fn direction_norms_of_some_rows() {
    let mut bench = Bench::new("direction_norms of some rows");
    let (n, k, r) = (11, 64, 3);
    let values = |what: &str, count: usize| uniform(&format!("direction part {what}"), count, 0.5);
    bench.check(&Case {
        name: "rows 4 to 9".into(),
        inputs: vec![
            Input::frozen_f32(n, k, &values("w", n * k)),
            Input::frozen_f32(2 * r, k, &values("a", 2 * r * k)),
            Input::frozen_f32(n, r, &values("b", n * r)),
        ],
        build: &|t, at| {
            let (w, a, b) = (at[0].weight(), at[1].weight(), at[2].weight());
            t.direction_norms(&Direction { w, first: 4, rows: 5, a, a_row: 2, b, b_row: 6, rank: r, scale: 0.7 })
        },
        forward: &|x| {
            row_norms(&x[0].some_rows(4..9), &x[1].some_rows(2..5), &x[2].some_rows(6..11), f64::from(0.7f32))
        },
        backward: &|x, _| x.to_vec(),
    });
}

#[test]
fn direction_norms() {
    let mut bench = Bench::new("direction_norms");
    let coded = CODED.into_iter().chain([GgmlType::F16, GgmlType::F32]).map(Some);
    let types: Vec<Option<GgmlType>> = coded.chain([None]).collect();
    for (n, k, r) in [(1, 32usize, 1), (3, 64, 3), (4, 96, 8), (7, 256, 4), (5, 576, 16), (97, 160, 65)] {
        for ty in types.iter().filter(|ty| ty.is_none_or(|ty| k.is_multiple_of(ty.block_len()))) {
            let name = format!("{} {n} x {k}, rank {r}", ty.map_or("NF4", GgmlType::name));
            let values = |what: &str, count: usize| uniform(&format!("direction {name} {what}"), count, 0.5);
            bench.check(&Case {
                name: name.clone(),
                inputs: vec![
                    match *ty {
                        Some(ty) => Input::of_type(n, k, ty, &values("w", n * k)),
                        None => Input::nf4(n, k, &values("w", n * k)),
                    },
                    Input::frozen_f32(r, k, &values("a", r * k)),
                    Input::frozen_f32(n, r, &values("b", n * r)),
                ],
                build: &|t, at| t.direction_norms(&whole(at[0].weight(), at[1].weight(), at[2].weight(), 0.7)),
                forward: &|x| row_norms(&x[0], &x[1], &x[2], f64::from(0.7f32)),
                backward: &|x, _| x.to_vec(),
            });
        }
    }
}

#[test]
fn a_fresh_magnitude_changes_no_bit() {
    let context = context();
    let (rows, n, k, r) = (7, 97, 64, 4);
    // A row of zeros has no direction, and no gradient that is not a number.
    let mut w = uniform("fresh w", n * k, 0.5);
    w[5 * k..6 * k].fill(0.0);
    let mut x = uniform("fresh x", rows * n, 1.0);
    x.iter_mut().skip(5).step_by(n).for_each(|x| *x = 0.0);
    let (w, _) = trained(&context, n, k, &w, &vec![0.0; n * k]);
    let (a, _) = trained(&context, r, k, &uniform("fresh a", r * k, 0.5), &vec![0.0; r * k]);
    let (b, _) = trained(&context, n, r, &vec![0.0; n * r], &vec![0.0; n * r]);

    let norms = Guarded::new(&context, &vec![f32::NAN; n]);
    let mut t = Tape::new(&context);
    let out = t.direction_norms(&whole(&w, &a, &b, 2.0));
    t.keep(out, &norms.buffer);
    t.finish(&context).unwrap().run(0);
    let (m, dm) = trained(&context, n, 1, &norms.read(&context), &vec![0.0; n]);

    let (value, result) = (Guarded::new(&context, &x), Guarded::new(&context, &vec![f32::NAN; rows * n]));
    let mut t = Tape::new(&context);
    let leaf = t.leaf(rows, n, &value.buffer, None);
    let norms = t.direction_norms(&whole(&w, &a, &b, 2.0));
    let y = t.magnitude(leaf, 0, &m, norms);
    t.keep(y, &result.buffer);
    let dy = Guarded::new(&context, &uniform("fresh dy", rows * n, 1.0));
    t.seed_grad(y, &dy.buffer);
    t.backward();
    t.finish(&context).unwrap().run(0);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&result.read(&context)), bits(&x));
    let dm = dm.read(&context);
    assert!(dm.iter().all(|dm| dm.is_finite()) && dm[5] == 0.0, "{dm:?}");
    context.check().unwrap();
}
