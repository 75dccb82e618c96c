//! Attention and the key-value cache against the f64 reference.

use std::ops::Range;

use tunesmith::data::batch::{Dataset, Layout, NO_LABEL};
use tunesmith::data::render::Rendered;
use tunesmith::gpu::Form;
use tunesmith::model::Rotary;
use tunesmith::ops::{CacheLayer, HEAD_DIMS, Heads, Masks, RopeTable, Scoring};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Bench, Case, Guarded, Input, context};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::{Matrix, attention, attention_backward, rope};

/// A bench for each form that attention has.
fn benches(op: &'static str) -> Vec<Bench> {
    Bench::of_forms(op, &[Form::Tile, Form::Small])
}

/// Causal attention within segments of these lengths.
fn segments(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut seen = Vec::new();
    for &length in lengths {
        seen.extend((start..start + length).map(|row| start..row + 1));
        start += length;
    }
    seen
}

/// Both directions of a mask as the kernels read it. A key that no row sees has an empty range after the last row.
fn masks(bench: &Bench, seen: &[Range<usize>], keys: usize) -> Masks {
    let pair = |range: &Range<usize>| [range.start as u32, range.end as u32];
    let rows_of_key: Vec<[u32; 2]> = (0..keys)
        .map(|key| {
            let rows = || (0..seen.len()).filter(|&row| seen[row].contains(&key));
            rows().next().map_or([seen.len() as u32; 2], |first| [first as u32, rows().next_back().unwrap() as u32 + 1])
        })
        .collect();
    let keys_of_row: Vec<[u32; 2]> = seen.iter().map(pair).collect();
    Masks {
        keys_of_row: Guarded::new(&bench.context, &keys_of_row).buffer,
        rows_of_key: Guarded::new(&bench.context, &rows_of_key).buffer,
    }
}

/// Every key that the masks give, by its own score.
const PLAIN: Scoring = Scoring { window: None, soft_cap: None };

/// Attention among the columns of one value.
fn check(bench: &mut Bench, what: &str, heads: Heads, seen: &[Range<usize>], size: f32) {
    check_scored(bench, what, heads, PLAIN, seen, size);
}

fn check_scored(bench: &mut Bench, what: &str, heads: Heads, scoring: Scoring, seen: &[Range<usize>], size: f32) {
    let masks = masks(bench, seen, seen.len());
    check_masked(bench, what, heads, scoring, seen, &masks, size);
}

fn check_masked(
    bench: &mut Bench,
    what: &str,
    heads: Heads,
    scoring: Scoring,
    seen: &[Range<usize>],
    masks: &Masks,
    size: f32,
) {
    let Heads { heads: h, kv_heads, head_dim } = heads;
    let rows = seen.len();
    let name = format!("{what}, {h} heads of {head_dim}, {kv_heads} kv, {rows} rows");
    let (q, kv) = (h * head_dim, kv_heads * head_dim);
    let parts = |x: &Matrix| [0..q, q..q + kv, q + kv..q + 2 * kv].map(|range| x.columns(range));
    let values = uniform(&format!("attention {name}"), rows * (q + 2 * kv), size);
    bench.check(&Case {
        inputs: vec![Input::leaf(rows, q + 2 * kv, values)],
        name,
        build: &|t, at| t.attention(at[0].var(), None, heads, scoring, masks),
        forward: &|x| {
            let [q, k, v] = parts(&x[0]);
            attention(&q, &k, &v, heads, scoring, seen)
        },
        backward: &|x, dy| {
            let [q, k, v] = parts(&x[0]);
            let [dq, dk, dv] = attention_backward(&q, &k, &v, heads, scoring, seen, dy);
            vec![dq.beside(&dk).beside(&dv)]
        },
    });
}

/// Attention to the keys and values of a cache, which nothing flows back to; those in the rows are not read.
fn check_cached(bench: &mut Bench, what: &str, heads: Heads, scoring: Scoring, seen: &[Range<usize>], keys: usize) {
    let Heads { heads: h, kv_heads, head_dim } = heads;
    let name = format!("{what}, {} rows, {keys} keys", seen.len());
    let masks = masks(bench, seen, keys);
    let (q, kv) = (h * head_dim, kv_heads * head_dim);
    let input = |i: usize, rows: usize, cols: usize| {
        Input::constant(rows, cols, uniform(&format!("attention {name} {i}"), rows * cols, 1.0))
    };
    bench.check(&Case {
        inputs: vec![input(0, seen.len(), q + 2 * kv), input(1, keys, kv), input(2, keys, kv)],
        name,
        build: &|t, at| t.attention(at[0].var(), Some((at[1].var(), at[2].var())), heads, scoring, &masks),
        forward: &|x| attention(&x[0].columns(0..q), &x[1], &x[2], heads, scoring, seen),
        backward: &|x, _| x.to_vec(),
    });
}

/// Attention among heads that were turned, whose gradients it turns back. With `beside` another op asks for the turned
/// heads, too, and its gradient takes the other way.
fn check_turned(bench: &mut Bench, heads: Heads, seen: &[Range<usize>], beside: bool) {
    let Heads { heads: h, kv_heads, head_dim } = heads;
    let rows = seen.len();
    let name = format!("turned, {h} heads of {head_dim}, {kv_heads} kv, beside another: {beside}");
    let masks = masks(bench, seen, rows);
    let (q, kv) = (h * head_dim, kv_heads * head_dim);
    let rotary = Rotary::plain(1e4);
    let table = RopeTable::new(&bench.context, 512, &rotary.frequencies(head_dim), 1.0).unwrap();
    let positions: Vec<u32> = (0..rows as u32).map(|row| row % 23 * 22 + 1).collect();
    let [places, ids] = [&positions, &vec![0; rows]].map(|words| Guarded::new(&bench.context, words).buffer);
    let turn = |x: &Matrix, sign| {
        rope(&x.columns(0..q + kv), &positions, head_dim, 1e4, sign).beside(&x.columns(q + kv..q + 2 * kv))
    };
    let parts = |x: &Matrix| [0..q, q..q + kv, q + kv..q + 2 * kv].map(|range| x.columns(range));
    let times = if beside { 2.0 } else { 1.0 };
    let values = uniform(&format!("attention {name}"), rows * (q + 2 * kv), 1.0);
    let mut inputs = vec![Input::leaf(rows, q + 2 * kv, values)];
    if beside {
        // A prefix that no row asks for: it hands on what it is given.
        inputs.push(Input::constant(1, 2 * kv, vec![0.0; 2 * kv]));
    }
    bench.check(&Case {
        inputs,
        name,
        build: &|t, at| {
            let qkv = t.rope(at[0].var(), q + kv, &places, &table);
            let y = t.attention(qkv, None, heads, PLAIN, &masks);
            if !beside {
                return y;
            }
            let placed = t.place_prefix(qkv, &ids, 1, at[1].var(), heads);
            let again = t.attention(placed, None, heads, PLAIN, &masks);
            t.add(y, again)
        },
        forward: &|x| {
            let [q, k, v] = parts(&turn(&x[0], 1.0));
            attention(&q, &k, &v, heads, PLAIN, seen).scaled(times)
        },
        backward: &|x, dy| {
            let [q, k, v] = parts(&turn(&x[0], 1.0));
            let [dq, dk, dv] = attention_backward(&q, &k, &v, heads, PLAIN, seen, dy);
            let mut gradients = vec![turn(&dq.beside(&dk).beside(&dv), -1.0).scaled(times)];
            gradients.extend(x.get(1).cloned());
            gradients
        },
    });
}

/// Head dimension, heads, key-value heads.
fn check_heads(shapes: &[(usize, usize, usize)]) {
    for mut bench in benches("attention") {
        for &(head_dim, heads, kv_heads) in shapes {
            let heads = Heads { heads, kv_heads, head_dim };
            // Packed, then padded with rows that see themselves alone.
            check(&mut bench, "packed", heads, &segments(&[11, 1, 24, 5, 1, 1, 1]), 1.0);
            check_turned(&mut bench, heads, &segments(&[11, 1, 24, 5]), false);
        }
    }
}

// Two tests, so that software adapters compile the large kernels side by side.
const LARGE: [(usize, usize, usize); 3] = [(96, 3, 3), (128, 4, 4), (256, 2, 1)];
const REST: [(usize, usize, usize); 5] = [(16, 3, 1), (32, 4, 1), (48, 2, 2), (64, 9, 3), (80, 8, 2)];

#[test]
fn every_head_dimension_and_sharing() {
    let dims: Vec<usize> = REST.iter().chain(&LARGE).map(|shape| shape.0).collect();
    assert_eq!(dims, HEAD_DIMS);
    check_heads(&REST);
}

#[test]
fn large_heads() {
    check_heads(&LARGE);
}

#[test]
fn every_length() {
    for mut bench in benches("attention, lengths") {
        let heads = Heads { heads: 3, kv_heads: 1, head_dim: 16 };
        for rows in [1, 2, 7, 8, 9, 31, 32, 33, 64, 65, 97] {
            check(&mut bench, "causal", heads, &segments(&[rows]), 1.0);
        }
        check(&mut bench, "ones", heads, &segments(&[1; 37]), 1.0);
        check(&mut bench, "on the tiles", heads, &segments(&[32, 8, 24, 32]), 1.0);
        check(&mut bench, "beside the tiles", heads, &segments(&[31, 2, 7, 33, 9]), 1.0);
        // Scores of +-70: the softmax is nearly an arg max.
        check(&mut bench, "peaked", heads, &segments(&[20, 21]), 6.0);
    }
}

/// A row sees the last keys of those that it may see, and scores may be capped.
#[test]
fn windows_and_soft_caps() {
    for mut bench in benches("attention, scored") {
        let heads = Heads { heads: 3, kv_heads: 1, head_dim: 16 };
        for window in [1, 2, 31, 33, 64, 200] {
            let scoring = Scoring { window: Some(window), ..PLAIN };
            let what = format!("window of {window}");
            check_scored(&mut bench, &what, heads, scoring, &segments(&[150, 1, 70, 1, 1]), 1.0);
        }
        // Scores far within the cap, about it, and far past it.
        for (cap, size) in [(50.0, 1.0), (2.0, 2.0), (3.0, 6.0)] {
            let scoring = Scoring { window: Some(20), soft_cap: Some(cap) };
            check_scored(&mut bench, &format!("cap of {cap}"), heads, scoring, &segments(&[40, 30]), size);
        }
        let wide = Heads { heads: 2, kv_heads: 1, head_dim: 256 };
        let scoring = Scoring { window: Some(20), soft_cap: Some(5.0) };
        check_scored(&mut bench, "wide", wide, scoring, &segments(&[40, 30]), 2.0);
    }
}

/// More than a workgroup takes of the rows behind a key, and more scores than are kept at a time.
#[test]
fn many_rows_and_many_heads() {
    for mut bench in benches("attention, many") {
        let heads = Heads { heads: 2, kv_heads: 1, head_dim: 16 };
        check(&mut bench, "in splits", heads, &segments(&[300, 9, 131]), 1.0);
        let heads = Heads { heads: 256, kv_heads: 64, head_dim: 16 };
        check(&mut bench, "in slabs", heads, &segments(&[41, 200, 77, 190]), 1.0);
    }
}

/// Rows before the first target of a segment, and behind its last, see nothing and are seen by no key.
#[test]
fn rows_that_are_not_asked() {
    let rendered = |length: usize, targets: &[usize]| Rendered {
        ids: vec![1; length],
        targets: (0..length).map(|i| targets.contains(&i)).collect(),
        ..Rendered::default()
    };
    let layout =
        Layout { packing: true, per_device_train_batch_size: 1, max_length: 200, virtual_tokens: 0, vocab_size: 9 };
    let examples = vec![
        rendered(50, &[40, 47]),
        rendered(7, &[]),
        rendered(40, &[1, 2, 3]),
        rendered(90, &[70]),
        rendered(3, &[2]),
    ];
    let batch = Dataset::new(examples, layout).batch(&[0, 1, 2, 3, 4]);
    let [keys_of_row, rows_of_key] = batch.masks(|row| batch.labels[row as usize] != NO_LABEL);
    let seen: Vec<Range<usize>> = keys_of_row.iter().map(|&[start, end]| start as usize..end as usize).collect();
    for mut bench in benches("attention, rows with targets") {
        let heads = Heads { heads: 6, kv_heads: 2, head_dim: 16 };
        let [keys_of_row, rows_of_key] =
            [&keys_of_row, &rows_of_key].map(|mask| Guarded::new(&bench.context, mask).buffer);
        check_masked(&mut bench, "asked", heads, PLAIN, &seen, &Masks { keys_of_row, rows_of_key }, 1.0);
    }
}

#[test]
fn turned_heads_that_others_ask_for() {
    for mut bench in benches("attention, turned") {
        let heads = Heads { heads: 4, kv_heads: 2, head_dim: 16 };
        check_turned(&mut bench, heads, &segments(&[33, 8]), true);
    }
}

#[test]
fn a_segment_is_the_same_wherever_it_lies() {
    let heads = Heads { heads: 3, kv_heads: 1, head_dim: 16 };
    let (length, cols, out_cols) = (45, 5 * 16, 3 * 16);
    let own = [uniform("segment x", length * cols, 1.0), uniform("segment dy", length * out_cols, 1.0)];
    for bench in benches("attention, a segment") {
        let context = &bench.context;
        // The result and the gradient of the segment's rows.
        let run = |before: &[usize], after: &[usize]| {
            let lengths = [before, &[length], after].concat();
            let (rows, at): (usize, usize) = (lengths.iter().sum(), before.iter().sum());
            let [x, dy] = [(&own[0], cols), (&own[1], out_cols)].map(|(own, cols)| {
                let mut all = uniform(&format!("{lengths:?} {cols}"), rows * cols, 1.0);
                all[at * cols..][..own.len()].copy_from_slice(own);
                Guarded::new(context, &all)
            });
            let [y, dx] = [out_cols, cols].map(|cols| Guarded::new(context, &vec![0f32; rows * cols]));
            let masks = masks(&bench, &segments(&lengths), rows);
            let mut t = Tape::new(context);
            let qkv = t.leaf(rows, cols, &x.buffer, Some(&dx.buffer));
            let result = t.attention(qkv, None, heads, PLAIN, &masks);
            t.keep(result, &y.buffer);
            t.seed_grad(result, &dy.buffer);
            t.backward();
            t.finish(context).unwrap().run(0);
            [(y, out_cols), (dx, cols)].map(|(all, cols)| {
                all.read(context)[at * cols..][..length * cols].iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        };
        let alone = run(&[], &[]);
        for (before, after) in [(&[7][..], &[][..]), (&[], &[9, 30]), (&[31, 2], &[1, 1, 1]), (&[1; 13], &[40])] {
            assert!(run(before, after) == alone, "after {before:?}, before {after:?}");
        }
        context.check().unwrap();
    }
}

#[test]
fn more_keys_than_rows() {
    for mut bench in benches("attention, cache") {
        let heads = Heads { heads: 9, kv_heads: 3, head_dim: 64 };
        // One new row, and some, after the positions before them; keys behind them are not written yet.
        for (rows, past, keys) in [(1, 0, 1), (1, 0, 40), (1, 37, 64), (5, 28, 50), (33, 31, 64), (32, 64, 97)] {
            let seen: Vec<Range<usize>> = (0..rows).map(|row| 0..past + row + 1).collect();
            check_cached(&mut bench, &format!("after {past}"), heads, PLAIN, &seen, keys);
            let window = Scoring { window: Some(9), ..PLAIN };
            check_cached(&mut bench, &format!("in a window after {past}"), heads, window, &seen, keys);
        }
    }
}

#[test]
fn the_cache_keeps_what_was_written() {
    let context = context();
    let (positions, channels) = (9, 6);
    // Queries of 12 columns stand before the keys and values.
    let heads = Heads { heads: 6, kv_heads: 3, head_dim: 2 };
    let layer = CacheLayer::new(&context, positions, channels).unwrap();
    let mut want = [vec![0f32; positions * channels], vec![0f32; positions * channels]];
    for (run, places) in [vec![0u32, 1, 2, 3], vec![4], vec![5, 6], vec![2, 8]].into_iter().enumerate() {
        let rows = places.len();
        let place = Guarded::new(&context, &places);
        let values = [0, 1].map(|i| uniform(&format!("cache {run} {i}"), rows * channels, 1.0));
        let [queries, keys, new_values] = [vec![0f32; rows * 12], values[0].clone(), values[1].clone()]
            .map(|x| Matrix::from_f32(rows, x.len() / rows, &x));
        let qkv = Guarded::new(&context, &queries.beside(&keys).beside(&new_values).to_f32());
        let out = [0, 1].map(|_| Guarded::new(&context, &vec![0f32; positions * channels]));
        let mut t = Tape::new(&context);
        let qkv = t.leaf(rows, 12 + 2 * channels, &qkv.buffer, None);
        let (k, v) = t.write_cache(qkv, heads, &place.buffer, &layer);
        for (whole, out) in [k, v].into_iter().zip(&out) {
            assert_eq!((t.rows(whole), t.cols(whole)), (positions, channels));
            let out = t.leaf(positions, channels, &out.buffer, None);
            t.copy(whole, out);
        }
        t.finish(&context).unwrap().run(0);
        for (i, want) in want.iter_mut().enumerate() {
            for (row, &place) in places.iter().enumerate() {
                want[place as usize * channels..][..channels].copy_from_slice(&values[i][row * channels..][..channels]);
            }
            assert_eq!(out[i].read(&context), *want, "run {run}");
        }
    }
    context.check().unwrap();
}
