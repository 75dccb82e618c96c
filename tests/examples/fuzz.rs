//! Damaged input for all that parses, for a while: `cargo xtask fuzz`.
//!
//!     cargo run -p tunesmith-tests --example fuzz -- COUNT [SEED [TARGET]]

use std::time::Instant;

use tunesmith_tests::fuzz::{Counting, Seeds, TARGETS, fuzz};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let mut words = std::env::args().skip(1);
    let count: usize = words.next().and_then(|word| word.parse().ok()).expect("how many times");
    let seed: u64 = words.next().map_or(1, |word| word.parse().expect("a number as the seed"));
    let only = words.next();
    let seeds = Seeds::new();
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|name| name == target.name)) {
        let start = Instant::now();
        let taken = fuzz(target, &seeds, count, seed);
        let seconds = start.elapsed().as_secs_f64();
        println!("{}: {count} inputs in {seconds:.0} s, of which {taken} were taken; seed {seed}", target.name);
    }
}
