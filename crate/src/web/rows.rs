//! The page's rows: read from JSONL in pieces, and handed over once, each under a number.

use js_sys::{Array, JSON, Reflect};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::js::{JsResult, problem, thrown, to_js, told};
use super::{Session, example, prompts};
use crate::data::example::Example;
use crate::data::import::ImportReader;
use crate::data::prompts::{PromptReader, PromptRow};
use crate::settings::config::RunConfig;
use crate::train::{Row, RowsReport};
use crate::{Error, Result};

/// Reads JSONL that comes in pieces: examples, or prompts.
#[wasm_bindgen]
pub struct RowsReader(Reader);

enum Reader {
    Examples(ImportReader),
    Prompts(PromptReader),
}

#[wasm_bindgen]
impl RowsReader {
    /// A reader of the file of this name.
    #[wasm_bindgen(constructor)]
    pub fn new(name: &str, prompts: bool) -> Self {
        Self(if prompts { Reader::Prompts(PromptReader::new(name)) } else { Reader::Examples(ImportReader::new(name)) })
    }

    /// Reads the lines that come next, each whole: gives `{examples, errors}`, with every bad line named. Prompts keep their other
    /// columns, which rewards may read.
    pub fn read(&mut self, text: &str) -> JsResult<JsValue> {
        let (rows, errors): (Vec<Value>, Vec<Error>) = match &mut self.0 {
            Reader::Examples(reader) => {
                reader.read(text);
                let (examples, errors) = reader.take();
                (examples.iter().map(|(_, example)| json!(example)).collect(), errors)
            }
            Reader::Prompts(reader) => {
                let (prompts, errors) = reader.read(text);
                (prompts.iter().map(|row| json!({ "prompt": row.prompt, "columns": row.columns })).collect(), errors)
            }
        };
        // Many rows are made much faster of one text than one field after the other.
        JSON::parse(&json!({ "examples": rows, "errors": told(&errors) }).to_string())
    }

    /// What there is to know of all of them: `{errors, warnings}`, every column that nobody reads among these.
    pub fn finish(self) -> JsValue {
        let (errors, warnings) = match self.0 {
            Reader::Examples(reader) => {
                let import = reader.finish();
                (import.errors, import.warnings.into_iter().map(|warning| warning.message).collect())
            }
            Reader::Prompts(reader) => (reader.finish().into_iter().collect(), Vec::new()),
        };
        to_js(&json!({ "errors": told(&errors), "warnings": warnings }))
    }
}

/// A row as the page has it: a prompt has its columns apart, so that one of any name is told from what a row is made of.
fn row(value: &JsValue) -> Result<Row> {
    if Reflect::has(value, &"columns".into()).unwrap_or(false) {
        return prompts::read(value).map(Row::Prompt);
    }
    example(value).map(Row::Example)
}

/// A row as a line of JSONL.
fn line(row: &Row) -> String {
    match row {
        Row::Example(example) => json!(example).to_string(),
        Row::Prompt(PromptRow { prompt, columns, .. }) => {
            let mut fields = serde_json::Map::from_iter([("prompt".to_owned(), json!(prompt))]);
            fields.extend(columns.clone());
            Value::Object(fields).to_string()
        }
    }
}

impl Session {
    /// The examples among some rows, each with its place, from 1.
    pub(super) fn examples(&self, ids: &[u32]) -> Result<Vec<(usize, Example)>> {
        let table = self.rows.borrow();
        let mut examples = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            if let Row::Example(example) = table.row(*id)? {
                examples.push((index + 1, example.clone()));
            }
        }
        Ok(examples)
    }
}

#[wasm_bindgen]
impl Session {
    /// Hands rows over, each in the place of the one of its number. All that asks for rows later is given their numbers.
    #[wasm_bindgen(js_name = putRows)]
    pub fn put_rows(&self, ids: &[u32], rows: Array) {
        let mut table = self.rows.borrow_mut();
        ids.iter().zip(rows.iter()).for_each(|(id, value)| table.put(*id, row(&value)));
    }

    /// Gives rows up.
    #[wasm_bindgen(js_name = dropRows)]
    pub fn drop_rows(&self, ids: &[u32]) {
        ids.iter().for_each(|id| self.rows.borrow_mut().remove(*id));
    }

    /// Reads rows as a run of this config does, for so many milliseconds; what was read once is not read again. Gives how many of
    /// them, from the first on, are read.
    #[wasm_bindgen(js_name = readRows)]
    pub fn read_rows(&self, config: JsValue, ids: &[u32], ms: f64) -> JsResult<usize> {
        let end = crate::clock::now_ms() + ms;
        let config = RunConfig::from_json(&super::json_text(&config)).map_err(thrown)?;
        let model = self.model().map_err(thrown)?;
        self.rows.borrow_mut().read(model, &config, ids, || crate::clock::now_ms() < end).map_err(thrown)
    }

    /// What rows come to: `{tokens, targets, truncated, bad: [{row, problem}]}`.
    #[wasm_bindgen(js_name = checkRows)]
    pub fn check_rows(&self, config: JsValue, ids: &[u32]) -> JsResult<JsValue> {
        let config = RunConfig::from_json(&super::json_text(&config)).map_err(thrown)?;
        let model = self.model().map_err(thrown)?;
        let RowsReport { tokens, targets, truncated, bad } =
            self.rows.borrow_mut().report(model, &config, ids).map_err(thrown)?;
        let bad: Vec<Value> = bad.iter().map(|(row, error)| json!({ "row": row, "problem": problem(error) })).collect();
        Ok(to_js(&json!({ "tokens": tokens, "targets": targets, "truncated": truncated, "bad": bad })))
    }

    /// Rows as JSONL.
    #[wasm_bindgen(js_name = rowLines)]
    pub fn row_lines(&self, ids: &[u32]) -> JsResult<String> {
        let table = self.rows.borrow();
        let mut text = String::new();
        for id in ids {
            text += &line(table.row(*id).map_err(thrown)?);
            text.push('\n');
        }
        Ok(text)
    }
}
