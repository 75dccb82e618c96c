//! The choice of the next token against the f64 reference.

use pollster::block_on;
use tunesmith::gpu::Context;
use tunesmith::ops::{Choice, ChooseBy, Chosen};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Guarded, context};
use tunesmith_tests::golden::hash::{hashed_ids, uniform};
use tunesmith_tests::reference::choose;

const GREEDY: ChooseBy = ChooseBy { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 };
const DRAWN: ChooseBy = ChooseBy { temperature: 1.0, ..GREEDY };

/// One token for each row of `logits`, by the keys and what was there before.
fn run(
    context: &Context,
    logits: &[f32],
    rows: usize,
    by: &ChooseBy,
    seen: &[&[u32]],
    keys: &[[u32; 2]],
) -> Vec<Chosen> {
    let vocab = logits.len() / rows;
    let choice = Choice::new(context, rows, vocab).unwrap();
    let logits = Guarded::new(context, logits);
    choice.write_by(context, by);
    choice.write_keys(context, keys);
    choice.write_seen(context, seen);
    let mut t = Tape::new(context);
    t.choose(&logits.buffer, &choice);
    t.finish(context).unwrap().run(0);
    // Notices what was written around the logits.
    logits.read(context);
    block_on(context.read(&choice.chosen, 0, rows)).unwrap()
}

fn keys(name: &str, rows: usize) -> Vec<[u32; 2]> {
    let words = hashed_ids(name, 2 * rows, 1 << 32);
    words.chunks(2).map(|pair| [pair[0], pair[1]]).collect()
}

/// Compares; gives how many were too near to say.
fn check(name: &str, context: &Context, logits: &[f32], rows: usize, by: &ChooseBy) -> usize {
    let vocab = logits.len() / rows;
    let keys = keys(name, rows);
    let seen: Vec<Vec<u32>> =
        (0..rows).map(|row| hashed_ids(&format!("{name} seen {row}"), 40, vocab as u64 + 3)).collect();
    let seen: Vec<&[u32]> = seen.iter().map(Vec::as_slice).collect();
    let got = run(context, logits, rows, by, &seen, &keys);
    assert_eq!(got, run(context, logits, rows, by, &seen, &keys), "{name}: two runs differ");
    let mut near = 0;
    for (row, got) in got.iter().enumerate() {
        let logits = &logits[row * vocab..][..vocab];
        let want = choose(logits, by, seen[row], keys[row]);
        // A share that f32 cannot tell from another may leave one token more or less.
        let shares = [by.top_p * (1.0 - 1e-5), by.top_p * (1.0 + 1e-5)];
        let same = |top_p| choose(logits, &ChooseBy { top_p, ..*by }, seen[row], keys[row]).id == want.id;
        if want.lead < 1e-4 && by.temperature > 0.0 || by.top_p < 1.0 && !shares.into_iter().all(same) {
            near += 1;
            continue;
        }
        assert_eq!(got.id as usize, want.id, "{name}, row {row}: {by:?}: ahead by {}", want.lead);
        assert!((f64::from(got.logp) - want.logp).abs() <= 1e-5, "{name}, row {row}: {got:?} for {want:?}");
    }
    near
}

#[test]
fn as_the_reference_chooses() {
    let context = context();
    let settings = [
        GREEDY,
        ChooseBy { repetition_penalty: 1.3, ..GREEDY },
        DRAWN,
        ChooseBy { temperature: 0.3, ..DRAWN },
        ChooseBy { top_k: 1, ..DRAWN },
        ChooseBy { top_k: 5, ..DRAWN },
        ChooseBy { top_p: 0.001, ..DRAWN },
        ChooseBy { top_p: 0.9, temperature: 1.5, ..DRAWN },
        ChooseBy { min_p: 0.05, ..DRAWN },
        ChooseBy { min_p: 1.0, ..DRAWN },
        ChooseBy { temperature: 0.8, top_k: 50, top_p: 0.8, min_p: 0.02, repetition_penalty: 1.2 },
    ];
    let (mut near, mut all) = (0, 0);
    for (vocab, rows) in [(1, 2), (2, 7), (255, 3), (256, 8), (257, 5), (1000, 8), (49152, 3)] {
        for (at, by) in settings.iter().enumerate() {
            for amplitude in if vocab > 1000 { vec![9.0] } else { vec![0.01, 4.0, 40.0] } {
                let name = format!("choose {vocab} {at} {amplitude}");
                near += check(&name, &context, &uniform(&name, rows * vocab, amplitude), rows, by);
                all += rows;
            }
        }
    }
    assert!(100 * near < all, "{near} of {all} are too near to say");
}

#[test]
fn of_those_alike_the_first_or_any() {
    let context = context();
    let logits = [1.0, 5.0, -2.0, 5.0, 5.0, 0.0];
    let of = |by: ChooseBy| -> Vec<u32> {
        let rows = 64;
        let seen: Vec<&[u32]> = vec![&[]; rows];
        run(&context, &logits.repeat(rows), rows, &by, &seen, &keys("alike", rows)).iter().map(|got| got.id).collect()
    };
    assert_eq!(of(GREEDY), [1; 64]);
    // As likely as the last that is kept: all three stay.
    for by in [
        ChooseBy { top_k: 1, ..DRAWN },
        ChooseBy { top_k: 2, ..DRAWN },
        ChooseBy { top_p: 0.1, ..DRAWN },
        ChooseBy { min_p: 1.0, ..DRAWN },
    ] {
        let drawn = of(by);
        assert!(drawn.iter().all(|id| [1, 3, 4].contains(id)), "{by:?}");
        assert!([1, 3, 4].iter().all(|id| drawn.contains(id)), "{by:?}");
    }
    let nothing = [f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0];
    assert_eq!(run(&context, &nothing, 1, &DRAWN, &[&[]], &[[7, 9]])[0], Chosen { id: 2, logp: 0.0 });
}

/// Their softmax: 0.087, 0.644, 0.237, 0.032.
const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

#[test]
fn draws_are_shared_as_the_softmax_says() {
    let context = context();
    let share = |by: ChooseBy, seen: &[u32]| -> [f64; 4] {
        let rows = 4000;
        let got = run(&context, &LOGITS.repeat(rows), rows, &by, &vec![seen; rows], &keys("shares", rows));
        [0, 1, 2, 3].map(|id| got.iter().filter(|got| got.id == id).count() as f64 / rows as f64)
    };
    let near = |by: ChooseBy, seen: &[u32], want: [f64; 4]| {
        for (got, want) in share(by, seen).into_iter().zip(want) {
            assert!((got - want).abs() < 0.025 && (want > 0.0 || got == 0.0), "{by:?}: {got}, not {want}");
        }
    };
    near(DRAWN, &[], [0.087, 0.644, 0.237, 0.032]);
    near(ChooseBy { temperature: 2.0, ..DRAWN }, &[], [0.1674, 0.4551, 0.2760, 0.1015]);
    // The two likeliest alone, however that is said: 0.269 of them is the second's.
    for two in [
        ChooseBy { top_p: 0.7, ..DRAWN },
        ChooseBy { top_k: 2, ..DRAWN },
        ChooseBy { min_p: 0.3, ..DRAWN },
        ChooseBy { top_k: 3, top_p: 0.9, min_p: 0.2, ..DRAWN },
    ] {
        near(two, &[], [0.0, 0.731, 0.269, 0.0]);
    }
    // 2 becomes 1, and -1 becomes -2.
    near(ChooseBy { repetition_penalty: 2.0, ..DRAWN }, &[1, 3, 1, 9], [0.1522, 0.4136, 0.4136, 0.0206]);
}

#[test]
fn what_was_there_before_becomes_less_likely() {
    let context = context();
    let greedy = |penalty, seen: &[u32]| {
        let by = ChooseBy { repetition_penalty: penalty, ..GREEDY };
        run(&context, &LOGITS, 1, &by, &[seen], &[[0, 0]])[0]
    };
    assert_eq!(greedy(1.9, &[1]).id, 1, "2 / 1.9 is still above 1");
    // Told is what the model gives, not what the penalty leaves.
    let second = greedy(2.1, &[1, 9]);
    assert_eq!(second.id, 2);
    assert!((second.logp - (greedy(1.0, &[]).logp - 1.0)).abs() < 1e-6, "{second:?}");
}
