//! The ops that work row by row or element by element, against the f64 reference.

use tunesmith::format::encoding::Encoding;
use tunesmith::format::ggml::GgmlType;
use tunesmith::gpu::{Form, Plan, Recorder, spread};
use tunesmith::model::Rotary;
use tunesmith::ops::{Gate, NormKind, Piece, RopeTable, Weight};
use tunesmith::tape::Tape;
use tunesmith_tests::blocks::CODED;
use tunesmith_tests::check_op::{Bench, Case, Guarded, Input, context};
use tunesmith_tests::golden::hash::{hashed_ids, uniform};
use tunesmith_tests::reference::{
    Matrix, dropout, dropout_keeps, embed, embed_backward, geglu, geglu_backward, rms_norm, rms_norm_backward, rope,
    swiglu, swiglu_backward,
};

/// Around a workgroup's 64, its multiples, and primes.
const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 63), (1, 64), (5, 13), (1, 65), (7, 97), (3, 576), (64, 65)];

#[test]
fn add() {
    let mut bench = Bench::new("add");
    let backward = |_: &[Matrix], dy: &Matrix| vec![dy.clone(), dy.clone()];
    // The last takes more than 65535 workgroups, so a second row of them.
    for (rows, cols) in SHAPES.into_iter().chain([(65537, 65)]) {
        let values = |name: &str| uniform(&format!("add {rows} x {cols} {name}"), rows * cols, 2.0);
        for (what, b) in
            [("both", Input::leaf(rows, cols, values("b"))), ("one", Input::constant(rows, cols, values("b")))]
        {
            if what == "one" && rows > 1000 {
                continue;
            }
            bench.check(&Case {
                name: format!("{rows} x {cols}, {what}"),
                inputs: vec![Input::leaf(rows, cols, values("a")), b],
                build: &|t, at| t.add(at[0].var(), at[1].var()),
                forward: &|x| x[0].plus(&x[1]),
                backward: &backward,
            });
        }
    }
    let x = uniform("add to itself", 65, 1.0);
    bench.check(&Case {
        name: "to itself".into(),
        inputs: vec![Input::leaf(5, 13, x)],
        build: &|t, at| t.add(at[0].var(), at[0].var()),
        forward: &|x| x[0].scaled(2.0),
        backward: &|_, dy| vec![dy.scaled(2.0)],
    });
}

#[test]
fn workgroups_spread_over_two_dimensions() {
    for count in [1, 64, 65, 65535 * 64, 65535 * 64 + 1, 1 << 25] {
        let [x, y, z] = spread(count);
        assert!(x <= 65535 && y <= 65535 && z == 1, "{count}: {x} x {y} x {z}");
        assert!((x * y) as usize * 64 >= count, "{count}: {x} x {y} workgroups");
    }
    assert_eq!(spread(65535 * 64 + 1), [32768, 2, 1]);
}

#[test]
fn center() {
    let mut bench = Bench::new("center");
    let centered = |x: &Matrix| {
        let mut y = x.clone();
        for row in y.data.chunks_mut(x.cols) {
            let mean = row.iter().sum::<f64>() / x.cols as f64;
            row.iter_mut().for_each(|value| *value -= mean);
        }
        y
    };
    for (rows, cols) in SHAPES {
        let name = format!("{rows} x {cols}");
        // Around something far from 0, as the residual stream of a trained model may be.
        let mut x = uniform(&format!("center {name}"), rows * cols, 2.0);
        x.iter_mut().for_each(|x| *x += 3.0);
        bench.check(&Case {
            name: name.clone(),
            inputs: vec![Input::leaf(rows, cols, x.clone())],
            build: &|t, at| t.center(at[0].var()),
            forward: &|x| centered(&x[0]),
            backward: &|_, dy| vec![centered(dy)],
        });
        bench.check(&Case {
            name: format!("{name}, beside what it came of"),
            inputs: vec![Input::leaf(rows, cols, x)],
            build: &|t, at| {
                let y = t.center(at[0].var());
                t.add(at[0].var(), y)
            },
            forward: &|x| x[0].plus(&centered(&x[0])),
            backward: &|_, dy| vec![dy.plus(&centered(dy))],
        });
    }
}

#[test]
fn swiglu_and_geglu() {
    let mut bench = Bench::new("gated");
    for ((rows, cols), kind) in SHAPES.into_iter().flat_map(|shape| [(shape, Gate::Silu), (shape, Gate::Gelu)]) {
        let name = format!("{kind:?}, {rows} x {cols}");
        let (forward, backward) = match kind {
            Gate::Silu => (
                swiglu as fn(&Matrix, &Matrix) -> Matrix,
                swiglu_backward as fn(&Matrix, &Matrix, &Matrix) -> [Matrix; 2],
            ),
            Gate::Gelu => (geglu as _, geglu_backward as _),
        };
        let mut gate = uniform(&format!("swiglu {name} gate"), rows * cols, 8.0);
        // Gates so large that their exponential overflows.
        for (gate, extreme) in gate.iter_mut().skip(1).step_by(7).zip([100.0, -100.0, 1e4, -1e4, 0.0]) {
            *gate = extreme;
        }
        let up = uniform(&format!("swiglu {name} up"), rows * cols, 2.0);
        let x = Matrix::from_f32(rows, cols, &gate).beside(&Matrix::from_f32(rows, cols, &up));
        bench.check(&Case {
            name,
            inputs: vec![Input::leaf(rows, 2 * cols, x.to_f32())],
            build: &|t, at| t.gated(kind, at[0].var()),
            forward: &|x| forward(&x[0].columns(0..cols), &x[0].columns(cols..2 * cols)),
            backward: &|x, dy| {
                let [gate, up] = backward(&x[0].columns(0..cols), &x[0].columns(cols..2 * cols), dy);
                vec![gate.beside(&up)]
            },
        });
    }
}

#[test]
fn rms_norm_op() {
    for mut bench in Bench::of_forms("rms_norm", &[Form::Plain]) {
        rms_norm_cases(&mut bench);
    }
}

fn rms_norm_cases(bench: &mut Bench) {
    // The norm of one channel is its sign, and what is left of its gradient is rounding.
    for (rows, cols) in SHAPES.into_iter().chain([(9, 4), (2, 36)]).filter(|&(_, cols)| cols > 1) {
        for eps in [1e-6_f32, 1e-2] {
            let name = format!("{rows} x {cols}, eps {eps:e}");
            let mut x = uniform(&format!("rms_norm {name} x"), rows * cols, 3.0);
            if eps > 1e-3 && rows > 1 {
                // A zero row, and one whose mean square is below eps.
                x[..cols].fill(0.0);
                x[cols..2 * cols].iter_mut().for_each(|x| *x *= 0.03);
            }
            let gain = uniform(&format!("rms_norm {name} gain"), cols, 2.0);
            let frozen = |values: &[f32]| Input::frozen_f32(1, cols, values);
            let trained = |values: &[f32]| Input::trained(1, cols, values.to_vec());
            for (what, x, gain) in [
                ("frozen", Input::leaf(rows, cols, x.clone()), frozen(&gain)),
                ("trained", Input::leaf(rows, cols, x.clone()), trained(&gain)),
                ("trained, constant input", Input::constant(rows, cols, x), trained(&gain)),
            ] {
                bench.check(&Case {
                    name: format!("{name}, {what}"),
                    inputs: vec![x, gain],
                    build: &move |t, at| t.rms_norm(at[0].var(), at[1].weight(), NormKind::plain(eps)),
                    forward: &move |x| rms_norm(&x[0], &x[1], f64::from(eps)),
                    backward: &move |x, dy| {
                        let ones = Matrix { rows: 1, cols, data: vec![1.0; cols] };
                        let xhat = rms_norm(&x[0], &ones, f64::from(eps));
                        vec![
                            rms_norm_backward(&x[0], &x[1], f64::from(eps), dy),
                            xhat.zip(dy, |xhat, dy| xhat * dy).column_sums(),
                        ]
                    },
                });
            }
        }
    }
}

#[test]
fn rms_norm_of_heads() {
    let mut bench = Bench::new("rms_norm of heads");
    // The last has more heads than a dispatch has workgroups in a row.
    for (rows, heads, dim, offset) in [(1, 1, 4, 0.0), (5, 3, 16, 1.0), (13, 2, 7, 1.0), (4099, 16, 4, 0.0)] {
        let name = format!("{rows} rows, {heads} heads of {dim}, gains from {offset}");
        let eps = 1e-6_f32;
        let gains = |kept: &Matrix| kept.map(|gain| gain + f64::from(offset));
        let x = uniform(&format!("rms_norm {name} x"), rows * heads * dim, 3.0);
        let gain = uniform(&format!("rms_norm {name} gain"), dim, 2.0);
        let apart = |x: &Matrix| Matrix { rows: rows * heads, cols: dim, data: x.data.clone() };
        let beside = |x: Matrix| Matrix { rows, cols: heads * dim, data: x.data };
        bench.check(&Case {
            name,
            inputs: vec![Input::leaf(rows, heads * dim, x), Input::trained(1, dim, gain)],
            build: &|t, at| t.rms_norm(at[0].var(), at[1].weight(), NormKind { eps, offset }),
            forward: &|x| beside(rms_norm(&apart(&x[0]), &gains(&x[1]), f64::from(eps))),
            backward: &|x, dy| {
                let (heads, dy) = (apart(&x[0]), apart(dy));
                let ones = Matrix { rows: 1, cols: dim, data: vec![1.0; dim] };
                let xhat = rms_norm(&heads, &ones, f64::from(eps));
                let dx = rms_norm_backward(&heads, &gains(&x[1]), f64::from(eps), &dy);
                vec![beside(dx), xhat.zip(&dy, |xhat, dy| xhat * dy).column_sums()]
            },
        });
    }
}

fn rotary(base: f64) -> Rotary {
    Rotary::plain(base)
}

#[test]
fn rope_op() {
    let mut bench = Bench::new("rope");
    // The columns behind the heads stay as they are.
    for (rows, heads, dim, base, rest) in
        [(1, 1, 16, 1e4, 0), (3, 3, 32, 1e4, 32), (65, 1, 64, 1e5, 128), (33, 9, 80, 1e6, 0), (7, 2, 128, 1e4, 2)]
    {
        let name = format!("{rows} rows, {heads} heads of {dim} and {rest}");
        let table = RopeTable::new(&bench.context, 2048, &rotary(base).frequencies(dim), 1.0).unwrap();
        // Segments start again at 0; the last position of the table occurs.
        let positions: Vec<u32> = (0..rows as u32).map(|row| if row == 1 { 2047 } else { row % 23 * 71 }).collect();
        let buffer = Guarded::new(&bench.context, &positions).buffer;
        let (turned, cols) = (heads * dim, heads * dim + rest);
        let x = uniform(&format!("rope {name}"), rows * cols, 2.0);
        let turn = |x: &Matrix, sign| {
            rope(&x.columns(0..turned), &positions, dim, base, sign).beside(&x.columns(turned..cols))
        };
        bench.check(&Case {
            name,
            inputs: vec![Input::leaf(rows, cols, x)],
            build: &|t, at| t.rope(at[0].var(), turned, &buffer, &table),
            forward: &|x| turn(&x[0], 1.0),
            backward: &|_, dy| vec![turn(dy, -1.0)],
        });
    }
}

#[test]
fn dropout_op() {
    let mut bench = Bench::new("dropout");
    for ((rows, cols), p) in SHAPES.into_iter().zip([0.5_f32, 0.1, 0.9, 0.05, 0.25, 0.5, 0.1, 0.75]) {
        let name = format!("{rows} x {cols}, p {p}");
        let counter = [rows as u32 * 77, cols as u32];
        let buffer = Guarded::new(&bench.context, &counter).buffer;
        let x = uniform(&format!("dropout {name}"), rows * cols, 2.0);
        bench.check(&Case {
            name,
            inputs: vec![Input::leaf(rows, cols, x)],
            build: &|t, at| t.dropout(at[0].var(), p, &buffer, 5),
            forward: &|x| dropout(&x[0], p, counter, 5),
            backward: &|_, dy| vec![dropout(dy, p, counter, 5)],
        });
    }
}

#[test]
fn dropout_keeps_its_share_and_no_pattern() {
    const N: u32 = 40_000;
    let mask = |seed, step, site, p| (0..N).map(move |i| dropout_keeps(seed, step, site, i, p));
    for p in [0.05_f32, 0.1, 0.5, 0.9] {
        let kept = mask(3, 1, 4, p).filter(|&kept| kept).count() as f64;
        let want = f64::from(N) * (1.0 - f64::from(p));
        let deviation = (want * f64::from(p)).sqrt();
        assert!((kept - want).abs() < 4.0 * deviation, "p {p}: {kept} of {N} kept, {want} expected");
    }
    // Masks of another seed, step, site or place agree as often as chance has it.
    let base: Vec<bool> = mask(3, 1, 4, 0.5).collect();
    let others = [mask(4, 1, 4, 0.5), mask(3, 2, 4, 0.5), mask(3, 1, 5, 0.5)].map(Iterator::collect::<Vec<bool>>);
    let shifted: Vec<bool> = base.iter().cycle().skip(1).take(base.len()).copied().collect();
    for other in others.iter().chain([&shifted]) {
        let agree = base.iter().zip(other).filter(|(a, b)| a == b).count() as f64;
        assert!((agree - 20_000.0).abs() < 4.0 * 100.0, "{agree} of {N} agree");
    }
}

#[test]
fn embed_op() {
    let mut bench = Bench::new("embed");
    let (vocab, tokens) = (53, 3);
    for (rows, cols) in [(1, 32), (7, 64), (65, 96), (9, 256), (13, 576)] {
        let table = uniform(&format!("embed {rows} x {cols} table"), vocab * cols, 2.0);
        let prompt = uniform(&format!("embed {rows} x {cols} prompt"), tokens * cols, 2.0);
        let text = hashed_ids(&format!("embed {rows} x {cols} ids"), rows, vocab as u64);
        // Virtual tokens 0 and 2 come more than once, 1 never.
        let mixed: Vec<u32> =
            text.iter().enumerate().map(|(i, &id)| if i % 5 < 2 { (vocab + i % 5 * 2) as u32 } else { id }).collect();
        let types = CODED.into_iter().chain([GgmlType::F16, GgmlType::F32]);
        let files = types
            .filter(|ty| cols.is_multiple_of(ty.block_len()))
            .map(|ty| (ty.name(), Input::of_type(vocab, cols, ty, &table)));
        for (ty, table) in files.chain([("NF4", Input::nf4(vocab, cols, &table))]) {
            let ids = Guarded::new(&bench.context, &text).buffer;
            bench.check(&Case {
                name: format!("{rows} x {cols}, {ty}"),
                inputs: vec![table.clone()],
                build: &|t, at| t.embed(rows, &ids, at[0].weight(), 1.0, None),
                forward: &|x| embed(&text, &x[0], None),
                backward: &|x, _| x.to_vec(),
            });
            let ids = Guarded::new(&bench.context, &mixed).buffer;
            bench.check(&Case {
                name: format!("{rows} x {cols}, {ty}, prompt"),
                inputs: vec![table.clone(), Input::leaf(tokens, cols, prompt.clone())],
                build: &|t, at| t.embed(rows, &ids, at[0].weight(), 1.0, Some(at[1].var())),
                forward: &|x| embed(&mixed, &x[0], Some(&x[1])),
                backward: &|_, dy| embed_backward(&mixed, vocab, tokens, dy).into(),
            });
            // Past the prompt's end, and past the vocabulary without a prompt, there are zeros.
            bench.check(&Case {
                name: format!("{rows} x {cols}, {ty}, no prompt and a short one"),
                inputs: vec![table, Input::leaf(1, cols, prompt[..cols].to_vec())],
                build: &|t, at| {
                    let without = t.embed(rows, &ids, at[0].weight(), 1.0, None);
                    let short = t.embed(rows, &ids, at[0].weight(), 1.0, Some(at[1].var()));
                    t.add(without, short)
                },
                forward: &|x| embed(&mixed, &x[0], None).plus(&embed(&mixed, &x[0], Some(&x[1]))),
                backward: &|_, dy| embed_backward(&mixed, vocab, 1, dy).into(),
            });
        }
        let trained = Input::trained(vocab, cols, table);
        for (what, ids) in [("text", &text), ("virtual tokens", &mixed)] {
            let buffer = Guarded::new(&bench.context, ids).buffer;
            for prompt in [Input::leaf(tokens, cols, prompt.clone()), Input::constant(tokens, cols, prompt.clone())] {
                bench.check(&Case {
                    name: format!("{rows} x {cols}, trained, {what}"),
                    inputs: vec![trained.clone(), prompt],
                    build: &|t, at| t.embed(rows, &buffer, at[0].weight(), 3.0, Some(at[1].var())),
                    forward: &|x| embed(ids, &x[0].scaled(3.0), Some(&x[1])),
                    backward: &|_, dy| {
                        let [table, prompt] = embed_backward(ids, vocab, tokens, dy);
                        vec![table.scaled(3.0), prompt]
                    },
                });
            }
        }
    }
}

#[test]
fn a_table_in_pieces() {
    let context = context();
    let (vocab, cols, tokens) = (53, 64, 2);
    let values = uniform("table in pieces", vocab * cols, 2.0);
    let prompt = Guarded::new(&context, &uniform("table in pieces, prompt", tokens * cols, 2.0));
    // Every row, virtual tokens, and what is past them.
    let ids: Vec<u32> = (0..vocab as u32 + 4).rev().collect();
    let buffer = Guarded::new(&context, &ids).buffer;
    let embedded = |table: &Weight| {
        let out = Guarded::new(&context, &vec![f32::NAN; ids.len() * cols]);
        let mut t = Tape::new(&context);
        let prompt = t.leaf(tokens, cols, &prompt.buffer, None);
        let y = t.embed(ids.len(), &buffer, table, 1.0, Some(prompt));
        t.keep(y, &out.buffer);
        t.finish(&context).unwrap().run(0);
        out.read(&context)
    };
    let piece = |rows: &[f32]| {
        let codes = Guarded::new(&context, rows).buffer;
        Piece { rows: rows.len() / cols, codes, scales: None }
    };
    let whole = embedded(&Weight::in_pieces("table", cols, Encoding::F32, vec![piece(&values)]));
    assert!(whole[..2 * cols].iter().all(|&value| value == 0.0) && whole[4 * cols..][..cols] == values[52 * cols..]);
    for rows in [1, 17, 52] {
        let pieces = values.chunks(rows * cols).map(piece).collect();
        assert!(embedded(&Weight::in_pieces("table", cols, Encoding::F32, pieces)) == whole, "pieces of {rows}");
    }
}

#[test]
fn gather_op() {
    let mut bench = Bench::new("gather");
    for (rows, cols) in SHAPES {
        // Every second row, the last one first, and then one that does not exist.
        let taken: Vec<u32> = (0..rows as u32).rev().step_by(2).chain([rows as u32]).collect();
        let buffer = Guarded::new(&bench.context, &taken).buffer;
        bench.check(&Case {
            name: format!("{rows} x {cols}"),
            inputs: vec![Input::leaf(rows, cols, uniform(&format!("gather {rows} x {cols}"), rows * cols, 2.0))],
            build: &|t, at| t.gather(at[0].var(), &buffer, taken.len()),
            forward: &|x| {
                let mut y = Matrix::zeros(taken.len(), cols);
                let there = taken.iter().enumerate().filter(|(_, row)| (**row as usize) < rows);
                there.for_each(|(to, &row)| y.row_mut(to).copy_from_slice(x[0].row(row as usize)));
                y
            },
            backward: &|_, dy| {
                let mut dx = Matrix::zeros(rows, cols);
                let there = taken.iter().enumerate().filter(|(_, row)| (**row as usize) < rows);
                there.for_each(|(from, &row)| dx.row_mut(row as usize).copy_from_slice(dy.row(from)));
                vec![dx]
            },
        });
    }
}

#[test]
fn copy_and_clear() {
    let context = context();
    let values = uniform("copy", 97, 1.0);
    let (from, to) = (Guarded::new(&context, &values), Guarded::new(&context, &[0f32; 97]));
    let mut t = Tape::new(&context);
    let x = t.leaf(1, 97, &from.buffer, None);
    let y = t.leaf(1, 97, &to.buffer, None);
    t.copy(x, y);
    t.finish(&context).unwrap().run(0);
    assert_eq!(to.read(&context), values);

    let whole = context.buffer_with("cleared", &values).unwrap();
    let mut list = Recorder::new(&context);
    let id = list.fixed(&whole);
    list.clear(id);
    Plan::new(&context, list).unwrap().run(0);
    assert_eq!(pollster::block_on(context.read::<f32>(&whole, 0, 97)).unwrap(), [0.0; 97]);
    context.check().unwrap();
}
