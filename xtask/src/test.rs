//! `cargo xtask test`: every check and every test, counted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::check::CHECKS;
use crate::process::{Failure, Result, cargo, command, could_not_start, root, run, target, words};
use crate::setup::{self, Needs};
use crate::tally::Tally;
use crate::{model, page, serve, wasm};

/// What one section came to.
struct Section {
    name: &'static str,
    took: Duration,
    /// `None` for a check, which runs no tests.
    tally: Option<Tally>,
    failure: Option<Failure>,
}

/// Sets up, runs everything even after a failure, and closes on one line that counts.
pub fn run_all() -> Result<()> {
    let mut sections = vec![];
    let mut check = |name: &'static str, work: fn() -> Result<()>| {
        sections.push(section(name, || work().map(|()| None)));
    };
    check("Setup", set_up);
    for (name, work) in CHECKS {
        check(name, work);
    }
    check("Page packages", page::install_packages);
    check("Types of the page", || run(page::npm().args(["run", "--silent", "check"]), "correct what tsc says"));
    check("Wasm", wasm::package);
    check("Page", page::build);
    sections.push(section("Tests of the page's parts", || counted(page::npm().args(["test", "--silent"])).map(Some)));
    sections
        .push(section("Tests in Rust", || counted(cargo().args(["test", "--workspace", "--no-fail-fast"])).map(Some)));
    sections.push(section("Tests in the browser", || browser_tests().map(Some)));
    close(&sections)
}

/// Kills runs so many times, at random moments, and resumes them.
pub fn kill(times: usize) -> Result<()> {
    setup::ensure(&Needs { gpu: true, ..Needs::default() })?;
    let mut tests = cargo();
    tests.args(["test", "--package", "tunesmith", "--test", "cli", "kills::", "--", "--nocapture"]);
    run(tests.env("TUNESMITH_KILLS", times.to_string()), "see the lines above")
}

/// Gives so many damaged inputs to each parser.
pub fn fuzz(times: usize) -> Result<()> {
    setup::ensure(&Needs { gpu: true, ..Needs::default() })?;
    let mut fuzz = cargo();
    fuzz.args(["run", "--package", "tunesmith-tests", "--example", "fuzz", "--", &times.to_string()]);
    run(&mut fuzz, "see the lines above")
}

/// Kills the page's renderer so many times, at random moments of a run, and goes on.
pub fn kill_page(times: usize) -> Result<()> {
    drive("kills.mjs", &[("TUNESMITH_KILLS", times.to_string())])
}

/// Brings so many rows into the page, begins a run on them, and tells how long the page was deaf meanwhile.
pub fn many_rows(rows: usize) -> Result<()> {
    drive("many-rows.mjs", &[("TUNESMITH_ROWS", rows.to_string())])
}

/// Runs a script of the page's tests on the served page.
fn drive(script: &str, variables: &[(&str, String)]) -> Result<()> {
    setup::ensure(&Needs { node: true, wasm: true, browser: true, python: true, ..Needs::default() })?;
    model::fetch()?;
    page::install_packages()?;
    wasm::package()?;
    page::build()?;
    let mut node = command("node");
    node.arg(root().join("web/e2e").join(script)).env("TUNESMITH_URL", serve::start(Some(0))?);
    for (name, value) in variables {
        node.env(name, value);
    }
    if let Some(browser) = setup::browser() {
        node.env("TUNESMITH_BROWSER", browser);
    }
    run(&mut node, "see the lines above")
}

fn set_up() -> Result<()> {
    setup::ensure(&Needs { python: true, node: true, wasm: true, gpu: true, browser: true, lints: true })?;
    model::fetch().map(|_| ())
}

/// The page in a headless browser, as it is served to a person.
fn browser_tests() -> Result<Tally> {
    if !page::folder().join("index.html").is_file() {
        return Err(Failure::new("there is no page to test", "see why the page was not built, above"));
    }
    let folder = root().join("web/e2e");
    let mut scripts: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| Failure::io(&folder, error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    scripts.sort();
    let mut tests = command("node");
    // One after the other: two browsers that train at once only slow each other down.
    tests.args(["--test", "--test-reporter=spec", "--test-concurrency=1"]).args(scripts);
    tests.env("TUNESMITH_URL", serve::start(Some(0))?);
    // A run moves from the page to the command line, and back.
    run(cargo().args(["build", "--package", "tunesmith", "--bin", "tunesmith"]), "correct what the compiler says")?;
    tests.env("TUNESMITH_CLI", target().join("debug").join(format!("tunesmith{}", std::env::consts::EXE_SUFFIX)));
    if let Some(browser) = setup::browser() {
        tests.env("TUNESMITH_BROWSER", browser);
    }
    counted(&mut tests)
}

/// Runs one section under its heading.
fn section(name: &'static str, work: impl FnOnce() -> Result<Option<Tally>>) -> Section {
    println!("\n== {name}");
    let start = Instant::now();
    let outcome = work();
    let took = start.elapsed();
    let (tally, failure) = match outcome {
        Ok(tally) => (tally, tally.and_then(left_out)),
        Err(failure) => (None, Some(failure)),
    };
    match &failure {
        None => println!("-- {name}: good, {:.0} s", took.as_secs_f64()),
        Some(Failure { what, help }) => {
            println!("-- {name}: FAILED, {:.0} s\n   {what}\n   {help}", took.as_secs_f64())
        }
    }
    Section { name, took, tally, failure }
}

/// A section of tests must run some, and all of them.
fn left_out(tally: Tally) -> Option<Failure> {
    let Tally { passed, failed, skipped } = tally;
    if failed > 0 {
        Some(Failure::new(format!("{failed} of {} tests failed", passed + failed), "see the lines above"))
    } else if skipped > 0 {
        Some(Failure::new(
            format!("{skipped} tests were left out"),
            "a test that does not run shows nothing: make it run",
        ))
    } else if passed == 0 {
        Some(Failure::new("no test was run", "see the lines above"))
    } else {
        None
    }
}

/// Runs tests, shows their output as it comes, and counts them. A runner that fails with no failed test
/// has not run them all, and is a failure itself.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| could_not_start(command, error))?;
    let mut tally = Tally::default();
    let output = child.stdout.take().expect("it was asked to be piped");
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| Failure::new(format!("its output broke off: {error}"), "run it again"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait().map_err(|error| could_not_start(command, error))?;
    if !status.success() && tally.failed == 0 {
        return Err(Failure::new(format!("`{}` failed ({status})", words(command)), "see the lines above"));
    }
    Ok(tally)
}

/// Prints what each section came to, and the line that counts.
fn close(sections: &[Section]) -> Result<()> {
    println!("\n== Summary");
    for Section { name, took, tally, failure } in sections {
        let counts = tally.map(|t| format!(", {} passed, {} failed", t.passed, t.failed)).unwrap_or_default();
        let word = if failure.is_none() { "good  " } else { "FAILED" };
        println!("{word} {name}, {:.0} s{counts}", took.as_secs_f64());
    }
    let mut total = Tally::default();
    for section in sections {
        total += section.tally.unwrap_or_default();
        if section.failure.is_some() && section.tally.is_none_or(|tally| tally.failed == 0) {
            total.failed += 1;
        }
    }
    let failed = sections.iter().filter(|section| section.failure.is_some()).count();
    println!("{} passed, {} failed", total.passed, total.failed);
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new("one section failed", "see its lines above")),
        _ => Err(Failure::new(format!("{failed} sections failed"), "see their lines above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_failed_were_left_out_or_never_were() {
        let tally = |passed, failed, skipped| left_out(Tally { passed, failed, skipped }).map(|failure| failure.what);
        assert_eq!(tally(3, 0, 0), None);
        assert_eq!(tally(2, 1, 0).unwrap(), "1 of 3 tests failed");
        assert_eq!(tally(2, 0, 1).unwrap(), "1 tests were left out");
        assert_eq!(tally(0, 0, 0).unwrap(), "no test was run");
    }

    #[test]
    fn a_runner_that_breaks_is_a_failure() {
        let mut cargo = Command::new("cargo");
        assert!(counted(cargo.args(["no-such-command-of-cargo"]).stderr(Stdio::null())).is_err());
        assert_eq!(counted(Command::new("cargo").arg("--version")).unwrap(), Tally::default());
    }

    #[test]
    fn one_failed_section_fails_the_whole() {
        let section = |failure: Option<&str>| Section {
            name: "A section",
            took: Duration::ZERO,
            tally: None,
            failure: failure.map(|what| Failure::new(what, "")),
        };
        assert_eq!(close(&[section(None)]), Ok(()));
        assert!(close(&[section(None), section(Some("broken"))]).is_err());
    }
}
