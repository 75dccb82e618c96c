//! `cargo xtask lab`: every tuning method on the starter sets, by a release build; the tables go into `docs/methods.md`.

use std::fs;
use std::process::Command;

use crate::document::{put_section, shown};
use crate::model;
use crate::process::{Failure, Result, cargo, command, root, run, target};
use crate::setup::{self, Needs};

/// The starter sets, under `docs/starters`.
const STARTERS: [&str; 3] = ["pirate", "support", "taglines"];

/// Runs `tunesmith lab` with these flags on each of the starter sets; and QLoRA, which wants a model that is not
/// quantized yet, by itself.
pub fn run_all(flags: &[&str]) -> Result<()> {
    setup::ensure(&Needs { gpu: true, python: true, ..Needs::default() })?;
    model::fetch()?;
    run(cargo().args(["build", "--release", "--package", "tunesmith"]), "see the lines above")?;
    let half = half_precision()?;
    for starter in STARTERS {
        let data = format!("docs/starters/{starter}.jsonl");
        let mut text = format!("## {starter}\n");
        for more in [vec![], vec!["--model", &half, "--load-in-4bit", "--methods", "qlora"]] {
            let arguments = [&["lab", "--data", &data], flags, &more].concat();
            let table = shown(tunesmith().args(&arguments))?;
            text += &format!("\n`tunesmith {}`\n\n{}\n", arguments.join(" "), table.trim());
        }
        put_section("docs/methods.md", starter, &text)?;
    }
    println!("\nThe tables are in docs/methods.md");
    Ok(())
}

fn tunesmith() -> Command {
    let mut command = command(target().join("release").join(format!("tunesmith{}", std::env::consts::EXE_SUFFIX)));
    command.current_dir(root());
    command
}

/// The default model with its linear layers in F16, by its path in the repository: an adapter that changes nothing merged
/// into it.
fn half_precision() -> Result<String> {
    let folder = target().join("lab");
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    let (adapter, file) = ("target/lab/nothing", "target/lab/SmolLM2-135M-Instruct.F16.gguf");
    if !root().join(file).exists() {
        // What an earlier start left half done.
        let _ = fs::remove_dir_all(root().join(adapter));
        let train = ["train", "--data", "docs/starters/pirate.jsonl", "--max-steps", "1", "--learning-rate", "0"];
        run(tunesmith().args(train).args(["--out", adapter]), "see the lines above")?;
        run(
            tunesmith().args(["merge", "--adapter", adapter, "--outtype", "f16", "--out", file]),
            "see the lines above",
        )?;
    }
    Ok(file.to_owned())
}
