//! One training example, in the forms that data sets come in.

use serde::Serialize;

pub use crate::text::Message;

/// A prompt or an answer: a text as it is, or turns for the chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A text, used as it is.
    Text(String),
    /// Turns of a conversation.
    Messages(Vec<Message>),
}

impl Prompt {
    /// Whether both are texts, or both turns.
    pub fn is_like(&self, other: &Self) -> bool {
        matches!(self, Self::Text(_)) == matches!(other, Self::Text(_))
    }

    /// Whether there is no character, or no turn.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Messages(turns) => turns.is_empty(),
        }
    }

    /// What two answers begin with, and what is left of each, as TRL finds it: by character or by turn, and something is
    /// always left. A space before the first character that differs is the answers'.
    pub fn split(chosen: &Self, rejected: &Self) -> (Self, Self, Self) {
        match (chosen, rejected) {
            (Self::Messages(chosen), Self::Messages(rejected)) => {
                let (at, _) = first_difference(chosen, rejected);
                let turns = |turns: &[Message]| Self::Messages(turns.to_vec());
                (turns(&chosen[..at]), turns(&chosen[at..]), turns(&rejected[at..]))
            }
            (Self::Text(chosen), Self::Text(rejected)) => {
                let [chosen, rejected]: [Vec<char>; 2] = [chosen, rejected].map(|text| text.chars().collect());
                let (mut at, differ) = first_difference(&chosen, &rejected);
                at -= usize::from(differ && at > 0 && chosen[at - 1] == ' ');
                let text = |chars: &[char]| Self::Text(chars.iter().collect());
                (text(&chosen[..at]), text(&chosen[at..]), text(&rejected[at..]))
            }
            _ => (Self::Text(String::new()), chosen.clone(), rejected.clone()),
        }
    }
}

/// The place of the first difference, or of the last element of the shorter one where it is the beginning of the other;
/// and whether there is a difference.
fn first_difference<T: PartialEq>(one: &[T], other: &[T]) -> (usize, bool) {
    let least = one.len().min(other.len());
    match (0..least).find(|&at| one[at] != other[at]) {
        Some(at) => (at, true),
        None => (least.saturating_sub(1), false),
    }
}

/// One training example. Serialised, it is one line of a JSONL file.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<i64>>,
    },
    /// Two answers to one prompt, of which one is the better.
    Preference {
        /// What is given; without it, it is what both answers begin with.
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt: Option<Prompt>,
        /// The better answer.
        chosen: Prompt,
        /// The other.
        rejected: Prompt,
        /// By how much the better one is to be scored higher.
        #[serde(skip_serializing_if = "Option::is_none")]
        margin: Option<f64>,
    },
    /// An answer that was found good or bad.
    Unpaired {
        /// What is given.
        prompt: Prompt,
        /// The answer.
        completion: Prompt,
        /// Whether it is a good one.
        label: bool,
    },
    /// A preference as token ids, used as they are.
    PreferenceTokens {
        /// What is given.
        prompt_ids: Vec<u32>,
        /// The better answer.
        chosen_ids: Vec<u32>,
        /// The other.
        rejected_ids: Vec<u32>,
        /// By how much the better one is to be scored higher.
        #[serde(skip_serializing_if = "Option::is_none")]
        margin: Option<f64>,
    },
    /// An answer that was found good or bad, as token ids.
    UnpairedTokens {
        /// What is given.
        prompt_ids: Vec<u32>,
        /// The answer.
        completion_ids: Vec<u32>,
        /// Whether it is a good one.
        label: bool,
    },
}

impl Example {
    /// What it asks, which the model can be asked, too: all before its last answer. A text, and token ids, ask nothing.
    pub fn question(&self) -> Option<Prompt> {
        match self {
            Self::Messages { messages } => {
                let last = messages.iter().rposition(|turn| turn.role == "assistant")?;
                Some(Prompt::Messages(messages[..last].to_vec()))
            }
            Self::PromptCompletion { prompt, .. }
            | Self::Preference { prompt: Some(prompt), .. }
            | Self::Unpaired { prompt, .. } => Some(prompt.clone()),
            _ => None,
        }
        .filter(|prompt| !prompt.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_answers_begin_with_is_the_prompt() {
        for (chosen, rejected, prompt) in [
            ("The sky is blue.", "The sky is green.", "The sky is"),
            // Within a word it stays, and only one space goes to the answers.
            ("The sky is blue.", "The sky is black.", "The sky is bl"),
            ("a  b", "a  c", "a "),
            // One is the beginning of the other: the last character is left to both.
            ("The sky", "The sky is blue.", "The sk"),
            ("a b", "a ", "a"),
            ("é1", "é2", "é"),
            ("yes", "no", ""),
            (" yes", " no", ""),
            ("", "no", ""),
        ] {
            let text = |text: &str| Prompt::Text(text.into());
            let (found, left, right) = Prompt::split(&text(chosen), &text(rejected));
            let rest = |side: &str| text(&side[prompt.len()..]);
            assert_eq!((found, left, right), (text(prompt), rest(chosen), rest(rejected)), "{chosen:?} {rejected:?}");
        }
        let turns = |words: &[&str]| {
            let turn = |(index, word): (usize, &&str)| Message::new(["user", "assistant"][index % 2], *word);
            words.iter().enumerate().map(turn).collect::<Vec<_>>()
        };
        for (chosen, rejected, shared) in [
            (&["a", "b"][..], &["a", "c"][..], 1),
            (&["a", "b", "c", "d"], &["a", "b", "c", "e"], 3),
            (&["a", "b"], &["a", "b", "c", "d"], 1),
            (&["a", "b"], &["c", "b"], 0),
        ] {
            let (chosen, rejected) = (turns(chosen), turns(rejected));
            let split = Prompt::split(&Prompt::Messages(chosen.clone()), &Prompt::Messages(rejected.clone()));
            let part = |turns: &[Message]| Prompt::Messages(turns.to_vec());
            assert_eq!(split, (part(&chosen[..shared]), part(&chosen[shared..]), part(&rejected[shared..])));
        }
    }
}
