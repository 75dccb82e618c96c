//! Prompts to answer, from JSONL.

use serde_json::{Map, Value};

use super::example::Prompt;
use super::import::{Wrong, empty, messages_of, object, prompt_of, wrong};
use crate::Error;

const FORM: &str = "give \"prompt\": a text, or a list of messages with \"role\" and \"content\"";

/// A prompt, and what stands beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptRow {
    /// Its 1-based line.
    pub line: usize,
    /// What to answer.
    pub prompt: Prompt,
    /// The row's other columns.
    pub columns: Map<String, Value>,
}

/// Reads JSONL with a prompt in each row: "prompt", or "messages", of which a last turn of the assistant is left out, since
/// that is what an answer stands in the place of. Gives the good rows in file order, and an error for each of the others.
/// `name` is the file's, for messages.
pub fn import_prompts(name: &str, text: &str) -> (Vec<PromptRow>, Vec<Error>) {
    let mut reader = PromptReader::new(name);
    let (rows, mut errors) = reader.read(text);
    errors.extend(reader.finish());
    (rows, errors)
}

/// Reads prompts that come in pieces.
#[derive(Debug)]
pub struct PromptReader {
    name: String,
    /// Lines that were read.
    lines: usize,
    /// Whether there was a row in one of them.
    any: bool,
}

impl PromptReader {
    /// A reader of the file of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), lines: 0, any: false }
    }

    /// Reads the lines that come next, each whole, as [`import_prompts`] does.
    pub fn read(&mut self, text: &str) -> (Vec<PromptRow>, Vec<Error>) {
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        let text = if self.lines == 0 { text.trim_start_matches('\u{feff}') } else { text };
        for line in text.lines() {
            self.lines += 1;
            let number = self.lines;
            if line.trim().is_empty() {
                continue;
            }
            self.any = true;
            let row = object(line).and_then(|mut columns| {
                let prompt = prompt(&mut columns).map_err(|(what, _)| (what, FORM.to_owned()))?;
                Ok(PromptRow { line: number, prompt, columns })
            });
            match row {
                Ok(row) => rows.push(row),
                Err((what, help)) => {
                    errors.push(Error::Data { file: self.name.clone(), line: Some(number), what, help });
                }
            }
        }
        (rows, errors)
    }

    /// What is wrong with all of them together: that there are none.
    pub fn finish(self) -> Option<Error> {
        let (what, help) = ("there are no prompts".into(), format!("add at least one row; {FORM}"));
        (!self.any).then_some(Error::Data { file: self.name, line: None, what, help })
    }
}

fn prompt(columns: &mut Map<String, Value>) -> Result<Prompt, Wrong> {
    // What is left stays in its order.
    let (field, prompt) = if let Some(prompt) = columns.shift_remove("prompt") {
        ("prompt", prompt_of("prompt", prompt)?)
    } else if let Some(messages) = columns.shift_remove("messages") {
        let mut messages = messages_of("messages", messages)?;
        messages.pop_if(|last| last.role == "assistant");
        ("messages", Prompt::Messages(messages))
    } else {
        return Err(wrong("there is no prompt"));
    };
    if prompt.is_empty() { Err(empty(field)) } else { Ok(prompt) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_in_every_form() {
        let text = "\u{feff}{\"prompt\":\"a\",\"answer\":\"b\"}\n\n\
            {\"prompt\":[{\"role\":\"user\",\"content\":\"c\"}]}\n\
            {\"messages\":[{\"role\":\"user\",\"content\":\"d\"},{\"role\":\"assistant\",\"content\":\"e\"}]}\n";
        let (rows, errors) = import_prompts("p.jsonl", text);
        assert!(errors.is_empty(), "{errors:?}");
        let turns = |content: &str| Prompt::Messages(vec![crate::text::Message::new("user", content)]);
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(
            rows.iter().map(|row| row.prompt.clone()).collect::<Vec<_>>(),
            [Prompt::Text("a".into()), turns("c"), turns("d")]
        );
        assert_eq!(rows[0].columns["answer"], "b");
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        let rows = [
            ("{\"prompt\":\"\"}", "prompt is empty"),
            ("{\"prompt\":3}", "prompt is a number"),
            ("{\"text\":\"a\"}", "there is no prompt"),
            ("{\"messages\":[{\"role\":\"assistant\",\"content\":\"e\"}]}", "messages is empty"),
            ("[1]", "not an object"),
            ("{\"prompt\"", "not JSON"),
        ];
        let text: Vec<&str> = rows.iter().map(|(row, _)| *row).collect();
        let (good, errors) = import_prompts("p.jsonl", &text.join("\n"));
        assert!(good.is_empty() && errors.len() == rows.len(), "{errors:?}");
        for (index, (error, (_, what))) in errors.iter().zip(rows).enumerate() {
            let told = error.to_string();
            assert!(told.contains(&format!("line {}", index + 1)) && told.contains(what), "{told}");
        }
        let (_, errors) = import_prompts("p.jsonl", " \n");
        assert!(errors[0].to_string().contains("there are no prompts"));
    }
}
