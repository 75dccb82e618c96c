//! What is known of a run from its first step on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::train::Trainer;

/// The version of the form of a record. Those of before have no [`super::RECORD`], and their checkpoints may have no sums.
pub const VERSION: u32 = 1;

/// What [`super::RECORD`] holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// [`VERSION`].
    pub version: u32,
    /// When it began, in milliseconds since 1970.
    pub begun: f64,
    /// The model under it.
    pub model: Base,
    /// Parameters that are trained.
    pub trainable: usize,
    /// Of the rows that lie beside it, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsHash>,
    /// What the page adds, which nothing here reads.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The hashes of the rows of a run, as [`super::sha256`] has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsHash {
    /// Of [`super::ROWS`].
    pub data: String,
    /// Of [`super::HELD_OUT`], where something is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<String>,
}

/// The model that a run has under it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base {
    /// As an adapter names it.
    pub name: String,
    /// The file that it was read from, without its folder.
    pub file: String,
    /// Of its weights.
    pub hash: String,
    /// Whether its linear layers are held in 4 bits.
    pub load_in_4bit: bool,
}

impl About {
    /// Of a run that is about to begin.
    pub fn new(trainer: &Trainer, begun: f64, rows: Option<RowsHash>, more: Map<String, Value>) -> Self {
        let model = trainer.model();
        // Where the file lies is this computer's own business.
        let file = model.file.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let (name, hash) = (model.config.name.clone(), model.hash.clone());
        let model = Base { name, file, hash, load_in_4bit: model.load_in_4bit };
        Self { version: VERSION, begun, model, trainable: trainer.peft().params().count(), rows, more }
    }
}
