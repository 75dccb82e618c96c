//! Prompts as a model reads them.

use serde_json::{Map, Value};

use crate::Error;
use crate::data::example::{Message, Prompt};
use crate::data::prompts::PromptRow;
use crate::generate::chat_ids;
use crate::model::Model;
use crate::settings::config::RunConfig;

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

/// Renders prompts: turns by the model's template, and a text as one turn of the user's where there is one, unless the run is `raw`. Gives an
/// error for each that cannot be used: one that the template refuses, or that leaves no room for an answer.
pub fn questions(model: &Model, config: &RunConfig, file: &str, rows: &[PromptRow]) -> (Vec<Question>, Vec<Error>) {
    let (mut questions, mut errors) = (Vec::new(), Vec::new());
    let most = config.max_completion_length as usize;
    for row in rows {
        let ids = match &row.prompt {
            Prompt::Messages(turns) => chat_ids(model, turns),
            Prompt::Text(text) if model.template.is_some() && !config.raw => {
                chat_ids(model, &[Message::new("user", text)])
            }
            Prompt::Text(text) => model.tokenizer.encode(text, true),
        };
        let text = match &row.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Messages(turns) => turns.iter().map(|turn| &*turn.content).collect::<Vec<_>>().join("\n"),
        };
        let wrong = |what, help| Error::Data { file: file.into(), line: Some(row.line), what, help };
        match ids {
            Err(error) => errors.push(wrong(error.to_string(), error.help())),
            Ok(ids) if ids.len() + most > model.config.context_length => {
                let (len, room) = (ids.len(), model.config.context_length);
                let what =
                    format!("the prompt has {len} tokens, and with an answer of {most} it passes the model's {room}");
                errors.push(wrong(what, "shorten it, or lower max_completion_length".into()));
            }
            Ok(ids) => questions.push(Question { text, ids, columns: row.columns.clone() }),
        }
    }
    (questions, errors)
}
