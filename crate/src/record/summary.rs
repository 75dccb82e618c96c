//! What a record says of its run, in a few lines.

use serde::Serialize;
use serde_json::Value;

use super::about::About;
use super::files::{CHECKPOINT, METRICS, RECORD, RUN, checkpoints, lines};
use super::store::Store;
use crate::peft::io::{CONFIG, TENSORS};
use crate::settings::config::RunConfig;
use crate::{Error, Result};

/// A run in a few lines.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The model under it; empty where nothing tells.
    pub base: String,
    /// Steps that were reported.
    pub steps: u64,
    /// Steps of its newest checkpoint, from which it can go on.
    pub checkpoint: Option<usize>,
    /// The loss of the last step that was reported.
    pub loss: Option<f64>,
    /// The lowest loss on what is held out, and the step after which that was.
    pub best: Option<(u64, f64)>,
    /// Whether it came to its end, where the adapter is.
    pub done: bool,
    /// Of all its files.
    pub bytes: u64,
    /// Its settings, as `run.json` has them.
    pub config: Value,
    /// What else is known of it. A run of an earlier version has none.
    pub about: Option<About>,
}

impl Summary {
    /// Reads a record; there is none where nothing has begun.
    ///
    /// # Errors
    /// For settings that are none, and a record that cannot be read.
    pub async fn read(store: &impl Store) -> Result<Option<Self>> {
        let Some(settings) = store.read(RUN).await? else { return Ok(None) };
        let settings = RunConfig::from_json(&String::from_utf8_lossy(&settings)).map_err(|error| Error::Format {
            file: format!("{}/{RUN}", store.name()),
            what: error.to_string(),
            help: error.help(),
        })?;
        let events = lines(&String::from_utf8_lossy(&store.read(METRICS).await?.unwrap_or_default()));
        let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
        let held_out = of("eval").filter(|event| event["step"] != 0);
        let losses = held_out.filter_map(|event| Some((event["step"].as_u64()?, event["loss"].as_f64()?)));
        let about = store.read(RECORD).await?.and_then(|bytes| serde_json::from_slice::<About>(&bytes).ok());
        let checkpoint = checkpoints(store).await?.pop();
        Ok(Some(Self {
            base: base(store, checkpoint, about.as_ref()).await?.unwrap_or_default(),
            steps: of("step").filter_map(|event| event["step"].as_u64()).max().unwrap_or_default(),
            checkpoint,
            loss: of("step").next_back().and_then(|event| event["loss"].as_f64()),
            best: losses.reduce(|best, other| if other.1 < best.1 { other } else { best }),
            done: store.entries().await?.iter().any(|name| name == TENSORS),
            bytes: store.bytes().await?,
            config: settings.to_json(),
            about,
        }))
    }
}

/// The model of the run; where it does not tell, the one that the adapter was made for, or that of the newest checkpoint.
async fn base(store: &impl Store, checkpoint: Option<usize>, about: Option<&About>) -> Result<Option<String>> {
    if let Some(about) = about {
        return Ok(Some(about.model.name.clone()));
    }
    let of_checkpoint = checkpoint.map(|step| format!("{}{step}/{CONFIG}", CHECKPOINT));
    for path in [Some(CONFIG.to_owned()), of_checkpoint].into_iter().flatten() {
        if let Some(bytes) = store.read(&path).await? {
            let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            return Ok(config["base_model_name_or_path"].as_str().map(str::to_owned));
        }
    }
    Ok(None)
}
