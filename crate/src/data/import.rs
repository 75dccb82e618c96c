//! JSONL to examples. The form of a row is seen from its fields; a bad row is reported with its line.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::example::{Example, Message, Prompt};
use crate::{Error, Result};

const FIELDS: [&str; 6] = ["messages", "prompt", "completion", "text", "input_ids", "labels"];
const FORMS: &str = "give each row \"messages\", or \"prompt\" and \"completion\", or \"text\", or \"input_ids\"";

/// What was read from a file: the good rows, and what is wrong with the others.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Examples in file order, each with its 1-based line.
    pub examples: Vec<(usize, Example)>,
    /// One error for each bad row, in file order; or the one error that there are no rows.
    pub errors: Vec<Error>,
}

/// Reads JSONL: one object a line, blank lines allowed. `name` is the file's, for messages.
pub fn import_jsonl(name: &str, text: &str) -> Import {
    let mut import = Import::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match row(line) {
            Ok(example) => import.examples.push((number + 1, example)),
            Err((what, help)) => {
                import.errors.push(Error::Data { file: name.into(), line: Some(number + 1), what, help });
            }
        }
    }
    if import.examples.is_empty() && import.errors.is_empty() {
        let (what, help) = ("there are no examples".into(), format!("add at least one row; {FORMS}"));
        import.errors.push(Error::Data { file: name.into(), line: None, what, help });
    }
    import
}

/// What is wrong with a row, and what to do.
type Wrong = (String, String);

fn row(line: &str) -> Result<Example, Wrong> {
    let value: Value = serde_json::from_str(line).map_err(|e| {
        let (what, column) = (e.to_string(), e.column());
        let what = what.split(" at line ").next().unwrap_or_default();
        (format!("this is not JSON: {what}, at column {column}"), "write one JSON object on each line".to_owned())
    })?;
    let Value::Object(mut fields) = value else {
        return Err(("this is JSON, but not an object".into(), "write one JSON object on each line".into()));
    };
    if let Some(messages) = fields.remove("messages") {
        return Ok(Example::Messages { messages: messages_of("messages", messages)? });
    }
    match (fields.remove("prompt"), fields.remove("completion")) {
        (Some(prompt), Some(completion)) => {
            let (prompt, completion) = (prompt_of("prompt", prompt)?, prompt_of("completion", completion)?);
            return match (&prompt, &completion) {
                (Prompt::Text(_), Prompt::Text(_)) | (Prompt::Messages(_), Prompt::Messages(_)) => {
                    Ok(Example::PromptCompletion { prompt, completion })
                }
                _ => Err(wrong("prompt and completion are not of one kind: both a text, or both a list of messages")),
            };
        }
        (Some(_), None) => return Err(missing("prompt", "completion", &fields)),
        (None, Some(_)) => return Err(missing("completion", "prompt", &fields)),
        (None, None) => {}
    }
    if let Some(ids) = fields.remove("input_ids") {
        return tokens(ids, fields.remove("labels"));
    }
    match fields.remove("text") {
        Some(Value::String(text)) => Ok(Example::Text { text }),
        Some(other) => Err(wrong(format!("text is {}, and a text was expected", kind(&other)))),
        None => Err(unknown(&fields)),
    }
}

fn tokens(ids: Value, labels: Option<Value>) -> Result<Example, Wrong> {
    let input_ids: Vec<u32> = parse("input_ids", ids)?;
    let labels: Option<Vec<i64>> = labels.map(|labels| parse("labels", labels)).transpose()?;
    if input_ids.is_empty() {
        return Err(wrong("input_ids is empty"));
    }
    if let Some(labels) = &labels {
        if labels.len() != input_ids.len() {
            return Err(wrong(format!("there are {} input_ids and {} labels", input_ids.len(), labels.len())));
        }
        let other = labels.iter().zip(&input_ids).position(|(label, id)| *label != -100 && *label != i64::from(*id));
        if let Some(at) = other {
            let what = format!("labels[{at}] is {}, and -100 or {} was expected", labels[at], input_ids[at]);
            let help = "labels stand at the place of the token they are: each is its input id again, or -100";
            return Err((what, help.into()));
        }
    }
    Ok(Example::Tokens { input_ids, labels })
}

fn prompt_of(field: &str, value: Value) -> Result<Prompt, Wrong> {
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(_) => Ok(Prompt::Messages(messages_of(field, value)?)),
        other => Err(wrong(format!("{field} is {}, and a text or a list of messages was expected", kind(&other)))),
    }
}

fn messages_of(field: &str, value: Value) -> Result<Vec<Message>, Wrong> {
    let Value::Array(turns) = value else {
        return Err(wrong(format!("{field} is {}, and a list of messages was expected", kind(&value))));
    };
    if turns.is_empty() {
        return Err(wrong(format!("{field} is empty")));
    }
    turns.into_iter().enumerate().map(|(i, turn)| parse(&format!("{field}[{i}]"), turn)).collect()
}

fn parse<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Wrong> {
    serde_json::from_value(value).map_err(|e| wrong(format!("{field}: {e}")))
}

fn wrong(what: impl Into<String>) -> Wrong {
    (what.into(), FORMS.into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// One half of a pair is there; the other is missing, perhaps misspelt.
fn missing(found: &str, missing: &str, fields: &Map<String, Value>) -> Wrong {
    let near = fields.keys().find(|key| nearest(key, &[missing]).is_some());
    let help = near.map_or(FORMS.into(), |key| format!("rename \"{key}\" to \"{missing}\""));
    (format!("there is \"{found}\" and no \"{missing}\""), help)
}

/// No field is one we know.
fn unknown(fields: &Map<String, Value>) -> Wrong {
    let near = fields.keys().find_map(|key| Some((key, nearest(key, &FIELDS)?)));
    let names: Vec<String> = fields.keys().take(8).map(|key| format!("\"{key}\"")).collect();
    let what = match names.is_empty() {
        true => "the object is empty".into(),
        false => format!("none of its fields is known: {}", names.join(", ")),
    };
    (what, near.map_or(FORMS.into(), |(key, name)| format!("rename \"{key}\" to \"{name}\"")))
}

fn nearest(key: &str, known: &[&str]) -> Option<String> {
    match Error::unknown_key("field", &key.to_lowercase(), known.iter().copied()) {
        Error::UnknownKey { nearest, .. } => nearest,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let text = "\u{feff}{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\r\n\
            \r\n\
            {\"prompt\":\"a\",\"completion\":\"b\",\"source\":1}\n\
            {\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n\
              \n\
            {\"text\":\"c\\r\\n\"}\n\
            {\"input_ids\":[1,2]}\n\
            {\"input_ids\":[1,2],\"labels\":[-100,2]}";
        let import = import_jsonl("data.jsonl", text);
        assert!(import.errors.is_empty(), "{:?}", import.errors);
        let turn = Message::new;
        let (user, assistant) = (turn("user", "a"), turn("assistant", "b"));
        let expected = [
            (1, Example::Messages { messages: vec![user.clone(), assistant.clone()] }),
            (3, Example::PromptCompletion { prompt: Prompt::Text("a".into()), completion: Prompt::Text("b".into()) }),
            (
                4,
                Example::PromptCompletion {
                    prompt: Prompt::Messages(vec![user]),
                    completion: Prompt::Messages(vec![assistant]),
                },
            ),
            (6, Example::Text { text: "c\r\n".into() }),
            (7, Example::Tokens { input_ids: vec![1, 2], labels: None }),
            (8, Example::Tokens { input_ids: vec![1, 2], labels: Some(vec![-100, 2]) }),
        ];
        assert_eq!(import.examples, expected);
        for (_, example) in expected {
            let line = serde_json::to_string(&example).unwrap();
            assert_eq!(import_jsonl("again", &line).examples, [(1, example)], "{line}");
        }
    }

    #[test]
    fn bad_rows_are_named_and_the_rest_kept() {
        let cases = [
            ("{\"text\": \"a\"", "not JSON", "one JSON object"),
            ("[1]", "not an object", "one JSON object"),
            ("{}", "empty", "\"messages\""),
            ("{\"mesages\":[]}", "\"mesages\"", "rename \"mesages\" to \"messages\""),
            ("{\"Text\":\"a\"}", "\"Text\"", "rename \"Text\" to \"text\""),
            ("{\"question\":\"a\",\"answer\":\"b\"}", "\"question\", \"answer\"", "\"messages\""),
            ("{\"prompt\":\"a\"}", "no \"completion\"", "\"messages\""),
            ("{\"prompt\":\"a\",\"completions\":\"b\"}", "no \"completion\"", "rename \"completions\""),
            ("{\"completion\":\"a\"}", "no \"prompt\"", "\"prompt\""),
            (
                "{\"prompt\":\"a\",\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}]}",
                "one kind",
                "\"prompt\"",
            ),
            ("{\"prompt\":1,\"completion\":\"b\"}", "prompt is a number", "\"prompt\""),
            ("{\"messages\":[]}", "messages is empty", "\"messages\""),
            ("{\"messages\":\"a\"}", "messages is a text", "\"messages\""),
            ("{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "messages[0]", "\"messages\""),
            ("{\"messages\":[{\"role\":\"user\",\"text\":\"a\"}]}", "unknown field `text`", "\"messages\""),
            ("{\"text\":null}", "text is null", "\"text\""),
            ("{\"input_ids\":[]}", "input_ids is empty", "\"input_ids\""),
            ("{\"input_ids\":[-1]}", "input_ids", "\"input_ids\""),
            ("{\"input_ids\":[1],\"labels\":[]}", "1 input_ids and 0 labels", "\"input_ids\""),
            ("{\"input_ids\":[1],\"labels\":[2]}", "labels[0] is 2", "-100"),
        ];
        for (row, what, help) in cases {
            let import = import_jsonl("data.jsonl", &format!("{{\"text\":\"a\"}}\n\n{row}\n{{\"text\":\"b\"}}\n"));
            assert_eq!(import.examples.len(), 2, "{row}");
            let [error] = &import.errors[..] else { panic!("{row}: {:?}", import.errors) };
            assert!(error.to_string().starts_with("data.jsonl, line 3: "), "{error}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.help().contains(help), "{row}: {}", error.help());
        }
    }

    #[test]
    fn no_rows_is_an_error() {
        for text in ["", "\n\r\n", "\u{feff}"] {
            let import = import_jsonl("data.jsonl", text);
            assert_eq!(import.errors.len(), 1);
            assert_eq!(import.errors[0].to_string(), "data.jsonl: there are no examples");
        }
    }
}
