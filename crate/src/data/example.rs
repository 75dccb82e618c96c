//! One training example, in the forms that data sets come in.

use serde::{Deserialize, Serialize};

pub use crate::text::Message;

/// A prompt or a completion: a text as it is, or turns for the chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A text, used as it is.
    Text(String),
    /// Turns of a conversation.
    Messages(Vec<Message>),
}

/// One training example. Serialised, it is one line of a JSONL file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Example {
    /// A conversation; the assistant's turns are learnt.
    Messages {
        /// The turns.
        messages: Vec<Message>,
    },
    /// A prompt and what is to follow it.
    PromptCompletion {
        /// What is given.
        prompt: Prompt,
        /// What is learnt.
        completion: Prompt,
    },
    /// A text, all of it learnt.
    Text {
        /// The text.
        text: String,
    },
    /// Token ids, used as they are.
    Tokens {
        /// The ids.
        input_ids: Vec<u32>,
        /// For each id itself again where it is learnt and -100 where not; without it, all are learnt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<i64>>,
    },
}
