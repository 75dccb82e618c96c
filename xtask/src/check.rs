//! The checks that need no running: format, clippy, documentation, spelling.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Failure, Result, cargo, command, root, run, target};
use crate::setup::{self, Needs};
use crate::{rooms, stamp, wasm};

/// The spelling checker, from the Python index.
const TYPOS: &str = "typos==1.52.0";

/// A check: its name, and what it does.
pub type Check = (&'static str, fn() -> Result<()>);

/// Every check, in the order of how soon it ends.
pub const CHECKS: [Check; 6] = [
    ("Rooms", rooms::check),
    ("Format", format),
    ("Spelling", spelling),
    ("Clippy, native", clippy),
    ("Clippy, wasm32", wasm::clippy),
    ("Documentation", documentation),
];

/// What the checks need.
pub const NEEDS: Needs = Needs { python: true, node: false, wasm: true, gpu: false, browser: false, lints: true };

/// Runs every check and ends at the first that fails.
pub fn run_all() -> Result<()> {
    setup::ensure(&NEEDS)?;
    for (name, check) in CHECKS {
        println!("== {name}");
        check()?;
    }
    Ok(())
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]), "cargo fmt --all")
}

fn clippy() -> Result<()> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), "correct what clippy says")
}

fn documentation() -> Result<()> {
    run(
        cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
        "correct what rustdoc says",
    )
}

fn spelling() -> Result<()> {
    let programs = venv("typos", &[TYPOS])?;
    let help = "correct the words, or list them in typos.toml if they are right";
    run(command(programs.join("typos")).arg("--config").arg(root().join("typos.toml")), help)
}

/// A Python environment in `target` with these packages, made once. Gives the folder of its programs.
pub fn venv(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = target().join("venv").join(name);
    let programs = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let stamp_name = format!("venv-{name}");
    let wanted = packages.join(" ");
    if programs.is_dir() && stamp::is_current(&stamp_name, &wanted) {
        return Ok(programs);
    }
    println!("Installing {wanted}");
    let python = setup::python().ok_or_else(|| Failure::new("Python 3 is missing", "install it from python.org"))?;
    let help = "check the network, and that Python has its venv module";
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder), help)?;
    let mut install = Command::new(programs.join("python"));
    run(install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages), help)?;
    stamp::set(&stamp_name, &wanted)?;
    Ok(programs)
}
