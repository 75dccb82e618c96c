//! `cargo xtask lab`: every tuning method on the starter sets, by a release build; the tables go into `docs/methods.md`.

use crate::document::{put_section, shown};
use crate::model;
use crate::process::{Result, cargo, command, root, run, target};
use crate::setup::{self, Needs};

/// The starter sets, under `docs/starters`.
const STARTERS: [&str; 3] = ["pirate", "support", "taglines"];

/// Runs `tunesmith lab` with these flags on each of the starter sets.
pub fn run_all(flags: &[&str]) -> Result<()> {
    setup::ensure(&Needs { gpu: true, python: true, ..Needs::default() })?;
    model::fetch()?;
    run(cargo().args(["build", "--release", "--package", "tunesmith"]), "see the lines above")?;
    for starter in STARTERS {
        let data = format!("docs/starters/{starter}.jsonl");
        let mut lab = command(target().join("release").join(format!("tunesmith{}", std::env::consts::EXE_SUFFIX)));
        lab.current_dir(root()).args(["lab", "--data", &data]).args(flags);
        let table = shown(&mut lab)?;
        let arguments: String = flags.iter().map(|flag| format!(" {flag}")).collect();
        let text = format!("## {starter}\n\n`tunesmith lab --data {data}{arguments}`\n\n{}\n", table.trim());
        put_section("docs/methods.md", starter, &text)?;
    }
    println!("\nThe tables are in docs/methods.md");
    Ok(())
}
