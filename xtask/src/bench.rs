//! `cargo xtask bench`: measures a release build, keeps the numbers, and puts their tables into `docs/performance.md`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Failure, Result, cargo, command, could_not_start, root, run, target, words};
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

    let path = root().join("docs/performance.md");
    let document = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
    let text = format!("## {name}\n\n`tunesmith bench {}`\n\n{}\n", flags.join(" "), tables.trim());
    fs::write(&path, with_section(&document, &name, &text)).map_err(|error| Failure::io(&path, error))?;
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

/// Runs a command, shows its output as it comes, and returns it.
fn shown(command: &mut Command) -> Result<String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| could_not_start(command, error))?;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().expect("it was asked to be piped")).lines() {
        let line = line.map_err(|error| Failure::new(format!("its output broke off: {error}"), "run it again"))?;
        println!("{line}");
        text += &line;
        text.push('\n');
    }
    let status = child.wait().map_err(|error| could_not_start(command, error))?;
    if status.success() {
        return Ok(text);
    }
    Err(Failure::new(format!("`{}` failed ({status})", words(command)), "see the lines above"))
}

/// The document with this section in place of the one of its name, or at its end.
fn with_section(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let section = format!("{begin}{text}{end}");
    let old = document.find(&begin).and_then(|from| Some((from, from + document[from..].find(&end)? + end.len())));
    match old {
        Some((from, to)) => format!("{}{section}{}", &document[..from], &document[to..]),
        None => format!("{}\n\n{section}", document.trim_end()),
    }
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

    #[test]
    fn a_section_is_replaced_where_it_stands() {
        let one = with_section("# Speed\n", "a", "one\n");
        assert_eq!(one, "# Speed\n\n<!-- begin a -->\none\n<!-- end a -->\n");
        let two = with_section(&one, "b", "two\n");
        let again = with_section(&two, "a", "three\n");
        assert_eq!(again, two.replace("one", "three"));
    }
}
