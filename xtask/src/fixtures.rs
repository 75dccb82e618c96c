//! Makes the golden numbers of `tests/golden` again with PyTorch. Needed only when they change: the
//! tests read what is committed.

use crate::check::venv;
use crate::model;
use crate::process::{Result, command, root, run};
use crate::setup::{self, Needs};

/// The oracle, from the Python index.
const PACKAGES: [&str; 8] = [
    "torch==2.15.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "gguf==0.19.0",
    "safetensors==0.8.0",
    "accelerate==1.15.0",
    "datasets==5.2.0",
    "trl==1.16.0",
];

/// Runs the script that writes every fixture.
pub fn run_all() -> Result<()> {
    setup::ensure(&Needs { python: true, ..Needs::default() })?;
    let model = model::fetch()?;
    let python = venv("oracle", &PACKAGES)?.join("python");
    let script = root().join("tests/golden/make.py");
    run(command(python).arg(script).arg("--model").arg(model), "see the lines above")
}
