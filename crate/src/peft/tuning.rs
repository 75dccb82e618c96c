//! How a method is made, and read from a file.

use serde_json::{Map, Value};

use super::Peft;
use crate::Result;
use crate::model::Model;
use crate::settings::config::RunConfig;

/// A method that runs can ask for.
pub(super) trait Tuning: Peft + Sized + 'static {
    /// `peft_type` in `adapter_config.json`.
    const PEFT_TYPE: &'static str;

    /// Whether Hugging Face's PEFT has the method, and so reads its files.
    const IN_PEFT: bool = true;

    /// The fields of a run that `adapter_config.json` holds under the same names.
    const FIELDS: &'static [&'static str];

    /// A fresh adapter for `model` as `config` says; the same seed makes the same one.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the method's fields do not fit the model.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self>;

    /// What else of `adapter_config.json` becomes fields of a run; the message of what is missing or unknown.
    fn read(_file: &Map<String, Value>, _run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        Ok(())
    }
}
