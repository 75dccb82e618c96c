//! `cargo xtask bench`: measures a release build, keeps the numbers, and puts their tables into `docs/performance.md`.

use std::fs;
use std::path::Path;

use crate::document::{put_section, shown};
use crate::process::{Failure, Result, cargo, command, run, target};
use crate::setup::{self, Needs};

/// What is measured when nothing is asked for: it needs no download.
const DEFAULT: [&str; 2] = ["--synthetic", "smollm2-135m"];

/// Runs `tunesmith bench` with these flags.
pub fn run_all(flags: &[&str]) -> Result<()> {
    let flags = if flags.is_empty() { &DEFAULT } else { flags };
    setup::ensure(&Needs { gpu: true, ..Needs::default() })?;
    run(cargo().args(["build", "--release", "--package", "tunesmith"]), "see the lines above")?;
    let name = name(flags);
    let folder = target().join("bench");
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    let numbers = folder.join(format!("{name}.json"));
    let mut bench = command(target().join("release").join(format!("tunesmith{}", std::env::consts::EXE_SUFFIX)));
    bench.arg("bench").args(flags).arg("--out").arg(&numbers);
    let tables = shown(&mut bench)?;

    let text = format!("## {name}\n\n`tunesmith bench {}`\n\n{}\n", flags.join(" "), tables.trim());
    put_section("docs/performance.md", &name, &text)?;
    println!("\nThe numbers are in {}, the tables in docs/performance.md", numbers.display());
    Ok(())
}

/// What is measured, in a word: the shape or the model's file, and the encoding where one is chosen.
fn name(flags: &[&str]) -> String {
    let value = |flag: &str| {
        let after = flags.iter().position(|other| *other == flag).and_then(|at| flags.get(at + 1).copied());
        after.or_else(|| flags.iter().find_map(|other| other.strip_prefix(flag)?.strip_prefix('=')))
    };
    let file = value("--model").and_then(|path| Path::new(path).file_stem()?.to_str());
    let model = value("--synthetic").or(file).unwrap_or("default-model");
    value("--encoding").map_or_else(|| model.to_owned(), |encoding| format!("{model}-{encoding}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_is_called_by_what_it_measures() {
        assert_eq!(name(&DEFAULT), "smollm2-135m");
        assert_eq!(name(&["--steps", "2"]), "default-model");
        assert_eq!(name(&["--model=models/a.Q4_1.gguf", "--steps", "2"]), "a.Q4_1");
        assert_eq!(name(&["--synthetic", "qwen3-0.6b", "--encoding", "f16"]), "qwen3-0.6b-f16");
    }
}
