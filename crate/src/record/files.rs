//! The names of a record's files, and what they are read and written with.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::parts::SUMS;
use super::store::Store;
use crate::Result;
use crate::peft::io::{CARD, CONFIG, TENSORS};
use crate::train::checkpoint::{BEST, OPTIMIZER, PROGRESS, hex};

/// What is known of the run from its first step on.
pub const RECORD: &str = "record.json";
/// The settings.
pub const RUN: &str = "run.json";
/// The events that measure something.
pub const METRICS: &str = "metrics.jsonl";
/// The rows that it learns from, as they were given.
pub const ROWS: &str = "rows.jsonl";
/// Those that are held out.
pub const HELD_OUT: &str = "held-out.jsonl";
/// The folder with the adapter that the run began from and compares with.
pub const REFERENCE: &str = "reference";
/// What the name of a checkpoint begins with, before its steps.
pub(super) const CHECKPOINT: &str = "checkpoint-";

/// The metrics in the transformers library's form.
pub const STATE: &str = "trainer_state.json";
/// The files of a checkpoint, and those of the reference among them.
pub const CHECKPOINT_FILES: [&str; 8] = [CONFIG, TENSORS, CARD, OPTIMIZER, BEST, PROGRESS, STATE, SUMS];

/// The steps of a record's checkpoints, in order.
pub(super) async fn checkpoints(store: &impl Store) -> Result<Vec<usize>> {
    let mut found: Vec<usize> = store.entries().await?.iter().filter_map(|name| checkpoint_step(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The steps of a checkpoint, by its folder's name.
pub fn checkpoint_step(name: &str) -> Option<usize> {
    let step = name.strip_prefix(CHECKPOINT)?.parse().ok()?;
    (name == format!("{CHECKPOINT}{step}")).then_some(step)
}

/// The lines of metrics, of which a run that was killed may have left half a one.
pub(super) fn lines(metrics: &str) -> Vec<Value> {
    metrics.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// JSON for people.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The hash of a file, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
