//! Linear layers over every encoding, both ways, against the f64 reference.

use tunesmith::format::ggml::GgmlType;
use tunesmith::format::quant::{quantize_f16, quantize_q4_0, quantize_q4_1, quantize_q8_0};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Bench, Case, Input, Operand};
use tunesmith_tests::golden::hash::uniform;

const QUANTIZED: [GgmlType; 3] = [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0];

fn frozen(n: usize, k: usize, ty: GgmlType, values: &[f32]) -> Input {
    let blocks = match ty {
        GgmlType::Q4_0 => quantize_q4_0(values),
        GgmlType::Q4_1 => quantize_q4_1(values),
        GgmlType::Q8_0 => quantize_q8_0(values),
        GgmlType::F16 => quantize_f16(values),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    Input::frozen(n, k, ty, blocks)
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

/// Frozen weights of one type in shapes around the tiles (8 rows, 192 columns, 64 in the one-row kernel).
fn check_shapes(bench: &mut Bench, ty: GgmlType, shapes: &[(usize, usize, usize)]) {
    for &(m, n, k) in shapes {
        let name = format!("{ty} {n} x {k}");
        let x = uniform(&format!("{name} x"), m * k, 1.0);
        let w = uniform(&format!("{name} w"), n * k, 0.5);
        check(bench, &name, m, x, frozen(n, k, ty, &w));
    }
}

#[test]
fn quantized() {
    let mut bench = Bench::new("linear, quantized");
    for ty in QUANTIZED {
        check_shapes(
            &mut bench,
            ty,
            &[
                (1, 1, 32),
                (1, 63, 64),
                (1, 65, 96),
                (7, 191, 32),
                (8, 192, 192),
                (9, 193, 224),
                (13, 97, 576),
                (67, 5, 64),
            ],
        );
    }
}

#[test]
fn halves() {
    let mut bench = Bench::new("linear, f16");
    let shapes =
        [(1, 1, 4), (1, 63, 28), (1, 65, 36), (7, 191, 12), (8, 192, 192), (9, 193, 196), (13, 97, 100), (67, 5, 8)];
    check_shapes(&mut bench, GgmlType::F16, &shapes);
    // Halves below the normal range, of which a GPU may make zeros but ours must not.
    let w = uniform("subnormal halves", 97 * 36, 4e-5);
    check(&mut bench, "subnormal", 9, uniform("subnormal halves x", 9 * 36, 1.0), frozen(97, 36, GgmlType::F16, &w));
}

#[test]
fn plain() {
    let mut bench = Bench::new("linear, f32");
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
    ];
    check_shapes(&mut bench, GgmlType::F32, &shapes);
}

#[test]
fn trained() {
    let mut bench = Bench::new("linear, trained");
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

#[test]
fn narrow() {
    let mut bench = Bench::new("linear, narrow");
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

#[test]
fn onto() {
    let mut bench = Bench::new("linear_onto");
    for (m, n, k, r, scale) in
        [(1, 96, 64, 4, 2.0), (9, 193, 96, 16, 0.5), (67, 33, 32, 1, -1.5), (13, 64, 576, 65, 2.0)]
    {
        let values = |what: &str, count| uniform(&format!("onto {n} x {k} {what}"), count, 1.0);
        let w = frozen(n, k, GgmlType::Q4_1, &values("w", n * k));
        let (a, b) = (Input::trained(r, k, values("a", r * k)), Input::trained(n, r, values("b", n * r)));
        let x = values("x", m * k);
        for (what, x) in [("", Input::leaf(m, k, x.clone())), (", constant input", Input::constant(m, k, x))] {
            bench.check(&Case {
                name: format!("{m} rows, {n} x {k}, rank {r}{what}"),
                inputs: vec![x, w.clone(), a.clone(), b.clone()],
                build: &|t: &mut Tape, at: &[Operand]| {
                    let y = t.linear(at[0].var(), at[1].weight());
                    let low = t.linear(at[0].var(), at[2].weight());
                    t.linear_onto(y, low, at[3].weight(), scale);
                    y
                },
                forward: &|x| {
                    let low = x[0].times_transposed(&x[2]).times_transposed(&x[3]);
                    x[0].times_transposed(&x[1]).plus(&low.scaled(f64::from(scale)))
                },
                backward: &|x, dy| {
                    let dy_scaled = dy.scaled(f64::from(scale));
                    let dlow = dy_scaled.times(&x[3]);
                    let dx = dy.times(&x[1]).plus(&dlow.times(&x[2]));
                    let db = dy_scaled.transposed_times(&x[0].times_transposed(&x[2]));
                    vec![dx, x[1].clone(), dlow.transposed_times(&x[0]), db]
                },
            });
        }
    }
}

#[test]
fn odd_values() {
    let mut bench = Bench::new("linear, odd values");
    let (m, n, k) = (9, 97, 64);
    // Zero rows on both sides.
    let mut x = uniform("zero rows x", m * k, 1.0);
    x[..2 * k].fill(0.0);
    let mut w = uniform("zero rows w", n * k, 1.0);
    w[k..3 * k].fill(0.0);
    for ty in QUANTIZED.into_iter().chain([GgmlType::F16, GgmlType::F32]) {
        check(&mut bench, &format!("zero rows, {ty}"), m, x.clone(), frozen(n, k, ty, &w));
    }
    // f16 scales below the normal range, with their signs.
    for ty in QUANTIZED {
        let mut blocks = frozen(n, k, ty, &uniform("subnormal scales", n * k, 1.0)).blocks().to_vec();
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
