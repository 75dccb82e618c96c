//! Prompts of the page's table: `{prompt, columns}` each, so that a column of any name is told from what a row is made of.

use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use super::json_text;
use crate::data::prompts::{PromptRow, import_prompts};
use crate::{Error, Result};

/// What the page calls its table of prompts in errors.
pub const TABLE: &str = "prompts";

/// A prompt of the page's table.
///
/// # Errors
/// [`Error::Data`] for what is none, which is a fault of ours.
pub fn read(row: &JsValue) -> Result<PromptRow> {
    let (prompts, errors) = import_prompts(TABLE, &line(row)?);
    match (prompts.into_iter().next(), errors.into_iter().next()) {
        (_, Some(error)) => Err(error),
        (Some(prompt), None) => Ok(prompt),
        (None, None) => Err(no_prompt("nothing is in it")),
    }
}

fn line(row: &JsValue) -> Result<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        prompt: Value,
        #[serde(default)]
        columns: Map<String, Value>,
    }
    let Row { prompt, mut columns } =
        serde_json::from_str(&json_text(row)).map_err(|what| no_prompt(&what.to_string()))?;
    columns.insert("prompt".into(), prompt);
    Ok(Value::Object(columns).to_string())
}

fn no_prompt(what: &str) -> Error {
    Error::Data {
        file: TABLE.into(),
        line: None,
        what: format!("a row is no prompt with its columns: {what}"),
        help: "this is a fault in Tunesmith: please report it with this message".into(),
    }
}
