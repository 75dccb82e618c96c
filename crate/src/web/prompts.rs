//! Prompts of the page's table: `{prompt, columns}` each, so that a column of any name is told from what a row is made of.

use js_sys::Array;
use serde_json::{Map, Value, json};
use wasm_bindgen::prelude::*;

use super::Session;
use super::js::{to_js, told};
use super::json_text;
use crate::data::prompts::{PromptRow, import_prompts};
use crate::{Error, Result};

/// What the page calls its table of prompts in errors.
pub const TABLE: &str = "prompts";

/// Prompts of the page's table, as rows of a JSONL file with one row each.
pub fn read(rows: &Array) -> Result<Vec<PromptRow>> {
    let text: Vec<String> = rows.iter().map(|row| line(&row)).collect::<Result<_>>()?;
    let (prompts, errors) = import_prompts(TABLE, &text.join("\n"));
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(prompts),
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
    let Row { prompt, mut columns } = serde_json::from_str(&json_text(row)).map_err(|what| Error::Data {
        file: TABLE.into(),
        line: None,
        what: format!("a row is no prompt with its columns: {what}"),
        help: "this is a fault in Tunesmith: please report it with this message".into(),
    })?;
    columns.insert("prompt".into(), prompt);
    Ok(Value::Object(columns).to_string())
}

#[wasm_bindgen]
impl Session {
    /// JSONL to prompts, with every bad line named. Rows keep their other columns, which rewards may read.
    #[wasm_bindgen(js_name = importPrompts)]
    pub fn import_prompts(&self, name: &str, text: &str) -> JsValue {
        let (rows, errors) = import_prompts(name, text);
        let rows: Vec<Value> = rows.iter().map(|row| json!({ "prompt": row.prompt, "columns": row.columns })).collect();
        to_js(&json!({ "examples": rows, "errors": told(&errors), "warnings": [] }))
    }
}
