//! Linear layers behind SwiGLU, whose gradient goes through SwiGLU where the layer's product ends.

use tunesmith::format::encoding::Encoding;
use tunesmith::format::ggml::GgmlType;
use tunesmith::ops::{Gate, LowRank, Weight};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Bench, Case, Guarded, Input, context, trained};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::{Matrix, swiglu, swiglu_backward};

const RANK: usize = 3;

/// `swiglu(x) w^T` with a low-rank pair beside it, and w `[n, ffn]` of a file's type, or in NF4 where there is none. With
/// `beside` another op asks for SwiGLU's output, too, and its gradient takes the other way.
fn check(bench: &mut Bench, rows: usize, ffn: usize, n: usize, ty: Option<GgmlType>, beside: bool) {
    let name = format!("{rows} rows, {n} x {ffn}, {ty:?}, beside another: {beside}");
    let values = |what: &str, count| uniform(&format!("gated {name} {what}"), count, 1.0);
    let w = values("w", n * ffn);
    let w = match ty {
        None => Input::nf4(n, ffn, &w),
        Some(ty) => Input::of_type(n, ffn, ty, &w),
    };
    let mut gate_up = uniform(&format!("gated {name} x"), rows * 2 * ffn, 4.0);
    // Where exponentials overflow, and where nothing is left of them.
    gate_up[..4.min(ffn)].copy_from_slice(&[-100.0, 100.0, 0.0, -20.0][..4.min(ffn)]);
    let gated = |x: &Matrix| swiglu(&x.columns(0..ffn), &x.columns(ffn..2 * ffn));
    let times = |x: &[Matrix]| x[1].plus(&x[3].times(&x[2]).scaled(0.5));
    bench.check(&Case {
        inputs: vec![
            Input::leaf(rows, 2 * ffn, gate_up),
            w,
            Input::trained(RANK, ffn, values("a", RANK * ffn)),
            Input::trained_after(n, RANK, values("b", n * RANK)),
        ],
        name: name.clone(),
        build: &|t, at| {
            let x = t.gated(Gate::Silu, at[0].var());
            let (a, b) = (at[2].weight(), at[3].weight());
            let low = LowRank { x, a, b, rank: RANK, segments: vec![(n, true)], scale: 0.5 };
            let y = t.linears(x, &[at[1].weight().clone()], Some(&low), None);
            if beside {
                let again = t.linear(x, at[1].weight());
                t.add(y, again)
            } else {
                y
            }
        },
        forward: &|x| {
            let y = gated(&x[0]).times_transposed(&times(x));
            if beside { y.plus(&gated(&x[0]).times_transposed(&x[1])) } else { y }
        },
        backward: &|x, dy| {
            let above = dy.times(&times(x));
            let above = if beside { above.plus(&dy.times(&x[1])) } else { above };
            let [gate, up] = swiglu_backward(&x[0].columns(0..ffn), &x[0].columns(ffn..2 * ffn), &above);
            let dy = dy.scaled(0.5);
            let dlow = dy.times(&x[3]);
            let low = gated(&x[0]).times_transposed(&x[2]);
            vec![gate.beside(&up), x[1].clone(), dlow.transposed_times(&gated(&x[0])), dy.transposed_times(&low)]
        },
    });
}

#[test]
fn a_product_that_ends_in_swiglu() {
    for mut bench in Bench::all("linear behind swiglu") {
        for (rows, ffn, n, ty) in [
            (1, 32, 5, Some(GgmlType::Q4_1)),
            (9, 96, 193, Some(GgmlType::Q4_1)),
            (61, 192, 64, Some(GgmlType::Q8_0)),
            (33, 64, 36, None),
            (17, 256, 40, Some(GgmlType::Q6_K)),
            (13, 132, 31, Some(GgmlType::F16)),
            // Neither in fours, nor in eights.
            (7, 33, 17, Some(GgmlType::F32)),
            (70, 196, 12, Some(GgmlType::F32)),
            // Deeper than what is summed up at a time.
            (5, 32, 2080, Some(GgmlType::Q4_1)),
        ] {
            check(&mut bench, rows, ffn, n, ty, false);
        }
        check(&mut bench, 10, 64, 40, Some(GgmlType::Q4_1), true);
    }
}

#[test]
fn what_another_asks_for_goes_its_own_way() {
    let context = context();
    let (rows, ffn, n) = (9, 32, 8);
    let zeros = |count: usize| vec![0f32; count];
    let dispatches = |beside: bool| {
        let (above, _gradient) = trained(&context, 2 * ffn, n, &zeros(2 * ffn * n), &zeros(2 * ffn * n));
        let parts = [rows * n, n * ffn, rows * n, rows * n].map(|count| Guarded::new(&context, &zeros(count)).buffer);
        let [x, values, y, dy] = parts;
        let below = Weight::frozen("below", n, ffn, Encoding::F32, values, None);
        let mut t = Tape::new(&context);
        let x = t.leaf(rows, n, &x, None);
        let gate_up = t.linear(x, &above);
        let gated = t.gated(Gate::Silu, gate_up);
        let mut result = t.linear(gated, &below);
        if beside {
            let again = t.linear(gated, &below);
            result = t.add(result, again);
        }
        t.keep(result, &y);
        t.seed_grad(result, &dy);
        t.backward();
        t.finish(&context).unwrap().run(0).dispatches
    };
    // Three forward; the product that ends in SwiGLU's backward, and the gradient of the weight above.
    assert_eq!(dispatches(false), 5);
    // Another product and a sum; twice the sum's gradient, another product back, and SwiGLU's backward by itself.
    assert_eq!(dispatches(true), 5 + 2 + 2 + 1 + 1);
}
