//! Some damaged and made-up input for all that parses: see `tests/fuzz.rs`.

use tunesmith_tests::fuzz::{Counting, Seeds, TARGETS, fuzz};

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn nothing_panics_hangs_or_takes_memory_that_it_was_not_given() {
    let seeds = Seeds::new();
    for target in &TARGETS {
        let taken = fuzz(target, &seeds, 2000, 7);
        // Neither is everything refused, nor taken: what lies behind the first check is tried, too.
        assert!((40..1960).contains(&taken), "{}: {taken} inputs were taken", target.name);
    }
}
