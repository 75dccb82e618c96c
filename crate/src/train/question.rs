//! Prompts as a model reads them.

use serde_json::{Map, Value};

use crate::data::example::{Message, Prompt};
use crate::data::prompts::PromptRow;
use crate::generate::chat_ids;
use crate::model::Model;
use crate::settings::config::RunConfig;
use crate::{Error, Result};

/// A prompt as the model reads it.
#[derive(Debug, Clone)]
pub struct Question {
    /// For people and rewards: its turns one below the other.
    pub text: String,
    /// Its ids.
    pub ids: Vec<u32>,
    /// What stood beside it in its row.
    pub columns: Map<String, Value>,
}

/// Renders a prompt: turns by the model's template, and a text as one turn of the user's where there is one, unless the run is `raw`. `file`
/// is where it came from, for messages.
///
/// # Errors
/// [`Error::Data`] for one that the template refuses, or that leaves no room for an answer.
pub fn question(model: &Model, config: &RunConfig, file: &str, row: &PromptRow) -> Result<Question> {
    let wrong = |what, help| Error::Data { file: file.into(), line: Some(row.line), what, help };
    let ids = match &row.prompt {
        Prompt::Messages(turns) => chat_ids(model, turns),
        Prompt::Text(text) if model.template.is_some() && !config.raw => chat_ids(model, &[Message::new("user", text)]),
        Prompt::Text(text) => model.tokenizer.encode(text, true),
    };
    let ids = ids.map_err(|error| wrong(error.to_string(), error.help()))?;
    let (len, most, room) = (ids.len(), config.max_completion_length as usize, model.config.context_length);
    if len + most > room {
        let what = format!("the prompt has {len} tokens, and with an answer of {most} it passes the model's {room}");
        return Err(wrong(what, "shorten it, or lower max_completion_length".into()));
    }
    let text = match &row.prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Messages(turns) => turns.iter().map(|turn| &*turn.content).collect::<Vec<_>>().join("\n"),
    };
    Ok(Question { text, ids, columns: row.columns.clone() })
}

/// The same of several. Gives an error for each that cannot be used.
pub fn questions(model: &Model, config: &RunConfig, file: &str, rows: &[PromptRow]) -> (Vec<Question>, Vec<Error>) {
    let (mut questions, mut errors) = (Vec::new(), Vec::new());
    for row in rows {
        match question(model, config, file, row) {
            Ok(question) => questions.push(question),
            Err(error) => errors.push(error),
        }
    }
    (questions, errors)
}
