//! What goes back to the page: plain objects, and errors that it can show.

use serde::Serialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::Error;

/// What a call from the page gives.
pub type JsResult<T> = Result<T, JsValue>;

/// An error as the page takes it: `{code, message, help}`.
pub fn problem(error: &Error) -> Value {
    json!({ "code": error.code(), "message": error.to_string(), "help": error.help() })
}

/// The same, to be thrown.
pub fn thrown(error: Error) -> JsValue {
    to_js(&problem(&error))
}

/// The errors of a file's lines: `[{line, message, help}]`.
pub fn told(errors: &[Error]) -> Value {
    let one = |error: &Error| {
        let line = if let Error::Data { line, .. } = error { *line } else { None };
        json!({ "line": line, "message": error.to_string(), "help": error.help() })
    };
    errors.iter().map(one).collect()
}

/// A value as a plain object.
pub fn to_js(value: &impl Serialize) -> JsValue {
    // Serialisation into plain objects fails for maps with keys that are no strings, and we have none.
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}
