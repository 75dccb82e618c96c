//! JSONL to examples. The form of a row is seen from its fields; a bad row is reported with its line.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::example::{Example, Message, Prompt};
use super::json::Unambiguous;
use super::warning::{Lines, Warning};
use crate::{Error, Result};

const FIELDS: [&str; 14] = [
    "messages",
    "prompt",
    "completion",
    "text",
    "input_ids",
    "labels",
    "chosen",
    "rejected",
    "label",
    "margin",
    "prompt_ids",
    "completion_ids",
    "chosen_ids",
    "rejected_ids",
];
const FORMS: &str = "give each row \"messages\", or \"prompt\" and \"completion\", or \"text\", or \"input_ids\"; to compare \
    answers, \"prompt\", \"chosen\" and \"rejected\", or \"prompt\", \"completion\" and \"label\"";

/// Columns that nobody reads which are told one by one.
const TOLD: usize = 10;

/// What was read from a file: the good rows, and what is wrong with the others.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Examples in file order, each with its 1-based line.
    pub examples: Vec<(usize, Example)>,
    /// Columns that nobody reads, in the order of their first rows.
    pub warnings: Vec<Warning>,
    /// One error for each bad row, in file order; or the one error that there are no rows.
    pub errors: Vec<Error>,
}

/// Reads JSONL: one object a line, blank lines allowed. `name` is the file's, for messages.
pub fn import_jsonl(name: &str, text: &str) -> Import {
    let mut reader = ImportReader::new(name);
    reader.read(text);
    reader.finish()
}

/// Reads JSONL that comes in pieces.
#[derive(Debug, Default)]
pub struct ImportReader {
    name: String,
    /// Lines that were read.
    lines: usize,
    /// Whether there was a row in one of them.
    any: bool,
    import: Import,
    /// Columns that nobody reads, with the rows that have them, and what may be meant.
    unread: BTreeMap<String, (Lines, Option<String>)>,
}

impl ImportReader {
    /// A reader of the file of this name.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads the lines that come next, each whole.
    pub fn read(&mut self, text: &str) {
        let text = if self.lines == 0 { text.trim_start_matches('\u{feff}') } else { text };
        for line in text.lines() {
            self.lines += 1;
            let number = self.lines;
            if line.trim().is_empty() {
                continue;
            }
            self.any = true;
            match row(line) {
                Ok((example, rest)) => {
                    for column in rest.into_iter().filter(|(_, value)| !value.is_null()).map(|(column, _)| column) {
                        let first = || (Lines::default(), meant(&column, &example));
                        self.unread.entry(column.clone()).or_insert_with(first).0.add(number);
                    }
                    self.import.examples.push((number, example));
                }
                Err((what, help)) => {
                    let error = Error::Data { file: self.name.clone(), line: Some(number), what, help };
                    self.import.errors.push(error);
                }
            }
        }
    }

    /// Hands over the rows that were read since this was asked last, and what is wrong with the others.
    pub fn take(&mut self) -> (Vec<(usize, Example)>, Vec<Error>) {
        (std::mem::take(&mut self.import.examples), std::mem::take(&mut self.import.errors))
    }

    /// What is left behind the last line, with what there is to know of all rows.
    pub fn finish(mut self) -> Import {
        self.import.warnings = warnings(&self.name, self.unread);
        if !self.any {
            let (what, help) = ("there are no examples".into(), format!("add at least one row; {FORMS}"));
            self.import.errors.push(Error::Data { file: self.name, line: None, what, help });
        }
        self.import
    }
}

/// What is wrong with a row, and what to do.
pub(super) type Wrong = (String, String);

/// An example, and the columns that nobody read.
fn row(line: &str) -> Result<(Example, Map<String, Value>), Wrong> {
    let mut fields = object(line)?;
    let example = example(&mut fields)?;
    Ok((example, fields))
}

/// The columns of a row.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, Wrong> {
    let Unambiguous(value) = serde_json::from_str(line).map_err(|e| {
        let what = e.to_string();
        // The place is behind a last " at line ", for the key itself may say so.
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        if e.is_data() {
            return (what.to_owned(), "give each key once".to_owned());
        }
        (format!("this is not JSON: {what}, at column {}", e.column()), "write one JSON object on each line".into())
    })?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(("this is JSON, but not an object".into(), "write one JSON object on each line".into())),
    }
}

/// Takes the fields of an example.
fn example(fields: &mut Map<String, Value>) -> Result<Example, Wrong> {
    if let Some((chosen, rejected)) = both(fields, "chosen", "rejected")? {
        return preference(chosen, rejected, fields);
    }
    if let Some((chosen, rejected)) = both(fields, "chosen_ids", "rejected_ids")? {
        return preference_tokens(chosen, rejected, fields);
    }
    if let Some((prompt, completion)) = both(fields, "prompt_ids", "completion_ids")? {
        let label = fields.remove("label").ok_or_else(|| missing("completion_ids", "label", fields))?;
        let (prompt_ids, completion_ids) = (parse("prompt_ids", prompt)?, ids_of("completion_ids", completion)?);
        return Ok(Example::UnpairedTokens { prompt_ids, completion_ids, label: label_of(label)? });
    }
    if let Some(messages) = fields.remove("messages") {
        return Ok(Example::Messages { messages: messages_of("messages", messages)? });
    }
    if let Some((prompt, completion)) = both(fields, "prompt", "completion")? {
        let prompt = prompt_of("prompt", prompt)?;
        let label = fields.remove("label").map(label_of).transpose()?;
        let completion = match label {
            Some(_) => answer_of("completion", completion)?,
            None => prompt_of("completion", completion)?,
        };
        if !prompt.is_like(&completion) {
            return Err(wrong("prompt and completion are not of one kind: both a text, or both a list of messages"));
        }
        return Ok(match label {
            Some(label) => Example::Unpaired { prompt, completion, label },
            None => Example::PromptCompletion { prompt, completion },
        });
    }
    if let Some(ids) = fields.remove("input_ids") {
        return tokens(ids, fields.remove("labels"));
    }
    match fields.remove("text") {
        Some(Value::String(text)) => Ok(Example::Text { text }),
        Some(other) => Err(wrong(format!("text is {}, and a text was expected", kind(&other)))),
        None => Err(unknown(fields)),
    }
}

/// Takes two fields of which neither goes without the other; `None` where neither is there.
fn both(fields: &mut Map<String, Value>, one: &str, other: &str) -> Result<Option<(Value, Value)>, Wrong> {
    match (fields.remove(one), fields.remove(other)) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (Some(_), None) => Err(missing(one, other, fields)),
        (None, Some(_)) => Err(missing(other, one, fields)),
        (None, None) => Ok(None),
    }
}

fn preference(chosen: Value, rejected: Value, fields: &mut Map<String, Value>) -> Result<Example, Wrong> {
    let (chosen, rejected) = (answer_of("chosen", chosen)?, answer_of("rejected", rejected)?);
    let prompt = fields.remove("prompt").map(|prompt| prompt_of("prompt", prompt)).transpose()?;
    if !chosen.is_like(&rejected) {
        return Err(wrong("chosen and rejected are not of one kind: both a text, or both a list of messages"));
    }
    if prompt.as_ref().is_some_and(|prompt| !prompt.is_like(&chosen)) {
        let what = "prompt and chosen are not of one kind: both a text, or both a list of messages";
        return Err((
            what.into(),
            "leave prompt out where chosen and rejected begin with it; else give all of one kind".into(),
        ));
    }
    if chosen == rejected {
        return Err(same());
    }
    Ok(Example::Preference { prompt, chosen, rejected, margin: margin_of(fields)? })
}

fn preference_tokens(chosen: Value, rejected: Value, fields: &mut Map<String, Value>) -> Result<Example, Wrong> {
    let prompt = fields.remove("prompt_ids").ok_or_else(|| missing("chosen_ids", "prompt_ids", fields))?;
    let (chosen_ids, rejected_ids) = (ids_of("chosen_ids", chosen)?, ids_of("rejected_ids", rejected)?);
    if chosen_ids == rejected_ids {
        return Err(same());
    }
    let prompt_ids = parse("prompt_ids", prompt)?;
    Ok(Example::PreferenceTokens { prompt_ids, chosen_ids, rejected_ids, margin: margin_of(fields)? })
}

fn same() -> Wrong {
    ("chosen and rejected are the same".into(), "leave the row out: there is nothing to compare".into())
}

fn label_of(value: Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| {
        let what = format!("label is {}, and true or false was expected", kind(&value));
        (
            what,
            "say true for a good completion and false for a bad one; without a label it is an example to learn".into(),
        )
    })
}

fn margin_of(fields: &mut Map<String, Value>) -> Result<Option<f64>, Wrong> {
    let number = |value: Value| {
        let wrong = || wrong(format!("margin is {}, and a number was expected", kind(&value)));
        value.as_f64().ok_or_else(wrong)
    };
    fields.remove("margin").map(number).transpose()
}

fn tokens(ids: Value, labels: Option<Value>) -> Result<Example, Wrong> {
    let input_ids = ids_of("input_ids", ids)?;
    let labels: Option<Vec<i64>> = labels.map(|labels| parse("labels", labels)).transpose()?;
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

fn ids_of(field: &str, ids: Value) -> Result<Vec<u32>, Wrong> {
    let ids: Vec<u32> = parse(field, ids)?;
    if ids.is_empty() { Err(empty(field)) } else { Ok(ids) }
}

/// What is compared, or judged: it must hold something, and end with the assistant's words.
fn answer_of(field: &str, value: Value) -> Result<Prompt, Wrong> {
    let answer = prompt_of(field, value)?;
    match &answer {
        Prompt::Text(text) if text.is_empty() => Err(empty(field)),
        Prompt::Messages(turns) => match turns.last() {
            Some(last) if last.role != "assistant" => {
                let what =
                    format!("the last message of {field} is of \"{}\", and \"assistant\" was expected", last.role);
                Err((what, "an answer ends with what the assistant says".into()))
            }
            _ => Ok(answer),
        },
        Prompt::Text(_) => Ok(answer),
    }
}

pub(super) fn prompt_of(field: &str, value: Value) -> Result<Prompt, Wrong> {
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(_) => Ok(Prompt::Messages(messages_of(field, value)?)),
        other => Err(wrong(format!("{field} is {}, and a text or a list of messages was expected", kind(&other)))),
    }
}

pub(super) fn messages_of(field: &str, value: Value) -> Result<Vec<Message>, Wrong> {
    let Value::Array(turns) = value else {
        return Err(wrong(format!("{field} is {}, and a list of messages was expected", kind(&value))));
    };
    if turns.is_empty() {
        return Err(empty(field));
    }
    turns.into_iter().enumerate().map(|(i, turn)| parse(&format!("{field}[{i}]"), turn)).collect()
}

fn parse<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Wrong> {
    serde_json::from_value(value).map_err(|e| wrong(format!("{field}: {e}")))
}

pub(super) fn wrong(what: impl Into<String>) -> Wrong {
    (what.into(), FORMS.into())
}

pub(super) fn empty(field: &str) -> Wrong {
    wrong(format!("{field} is empty"))
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

/// No field is one we know, or none that makes an example by itself.
fn unknown(fields: &Map<String, Value>) -> Wrong {
    if let Some(key) = fields.keys().find(|key| FIELDS.contains(&key.as_str())) {
        return wrong(format!("\"{key}\" is no example by itself"));
    }
    let near = fields.keys().find_map(|key| Some((key, nearest(key, &FIELDS)?)));
    let names: Vec<String> = fields.keys().take(8).map(|key| format!("\"{key}\"")).collect();
    let what = match names.is_empty() {
        true => "the object is empty".into(),
        false => format!("none of its fields is known: {}", names.join(", ")),
    };
    (what, near.map_or(FORMS.into(), |(key, name)| format!("rename \"{key}\" to \"{name}\"")))
}

/// The field that a column which nobody reads may be meant for: one that such an example may have, or any.
fn meant(column: &str, example: &Example) -> Option<String> {
    let optional: &[&str] = match example {
        Example::PromptCompletion { .. } => &["label"],
        Example::Tokens { .. } => &["labels"],
        Example::Preference { .. } => &["prompt", "margin"],
        Example::PreferenceTokens { .. } => &["margin"],
        Example::Messages { .. } | Example::Text { .. } | Example::Unpaired { .. } | Example::UnpairedTokens { .. } => {
            &[]
        }
    };
    let of_others = if FIELDS.contains(&column) { None } else { nearest(column, &FIELDS) };
    nearest(column, optional).or(of_others)
}

/// One warning for each column that nobody reads.
fn warnings(file: &str, unread: BTreeMap<String, (Lines, Option<String>)>) -> Vec<Warning> {
    let mut unread: Vec<_> = unread.into_iter().collect();
    unread.sort_by_key(|(_, (rows, _))| rows.line);
    let more = unread.split_off(unread.len().min(TOLD));
    let told = unread.into_iter().filter_map(|(column, (rows, meant))| {
        let meant = meant.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
        rows.warning("unread", file, &format!("the column {column:?} is not read{meant}"))
    });
    let more = more.first().and_then(|(column, (rows, _))| {
        let others = match more.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} others are not, either"),
        };
        rows.warning("unread", file, &format!("the column {column:?} is not read{others}"))
    });
    told.chain(more).collect()
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
            {\"input_ids\":[1,2],\"labels\":[-100,2]}\n\
            {\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\",\"margin\":0.5}\n\
            {\"chosen\":[{\"role\":\"assistant\",\"content\":\"b\"}],\"rejected\":[{\"role\":\"assistant\",\"content\":\"a\"}]}\n\
            {\"prompt\":\"a\",\"completion\":\"b\",\"label\":false}\n\
            {\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"b\"}],\"label\":true}\n\
            {\"prompt_ids\":[1],\"chosen_ids\":[2],\"rejected_ids\":[3,4],\"margin\":2}\n\
            {\"prompt_ids\":[1],\"completion_ids\":[2],\"label\":true}";
        let import = import_jsonl("data.jsonl", text);
        assert!(import.errors.is_empty(), "{:?}", import.errors);
        assert_eq!(import.warnings.len(), 1, "{:?}", import.warnings);
        let turn = Message::new;
        let (user, assistant) = (turn("user", "a"), turn("assistant", "b"));
        let expected = [
            (1, Example::Messages { messages: vec![user.clone(), assistant.clone()] }),
            (3, Example::PromptCompletion { prompt: Prompt::Text("a".into()), completion: Prompt::Text("b".into()) }),
            (
                4,
                Example::PromptCompletion {
                    prompt: Prompt::Messages(vec![user.clone()]),
                    completion: Prompt::Messages(vec![assistant.clone()]),
                },
            ),
            (6, Example::Text { text: "c\r\n".into() }),
            (7, Example::Tokens { input_ids: vec![1, 2], labels: None }),
            (8, Example::Tokens { input_ids: vec![1, 2], labels: Some(vec![-100, 2]) }),
            (
                9,
                Example::Preference {
                    prompt: Some(Prompt::Text("a".into())),
                    chosen: Prompt::Text("b".into()),
                    rejected: Prompt::Text("c".into()),
                    margin: Some(0.5),
                },
            ),
            (
                10,
                Example::Preference {
                    prompt: None,
                    chosen: Prompt::Messages(vec![assistant.clone()]),
                    rejected: Prompt::Messages(vec![turn("assistant", "a")]),
                    margin: None,
                },
            ),
            (
                11,
                Example::Unpaired {
                    prompt: Prompt::Text("a".into()),
                    completion: Prompt::Text("b".into()),
                    label: false,
                },
            ),
            (
                12,
                Example::Unpaired {
                    prompt: Prompt::Messages(vec![user]),
                    completion: Prompt::Messages(vec![assistant]),
                    label: true,
                },
            ),
            (
                13,
                Example::PreferenceTokens {
                    prompt_ids: vec![1],
                    chosen_ids: vec![2],
                    rejected_ids: vec![3, 4],
                    margin: Some(2.0),
                },
            ),
            (14, Example::UnpairedTokens { prompt_ids: vec![1], completion_ids: vec![2], label: true }),
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
            ("{\"text\": \"a\", \"text\": \"a\"}", "the key \"text\" is there twice", "each key once"),
            (
                "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"role\":\"user\"}]}",
                "the key \"role\" is there twice",
                "each key once",
            ),
            ("{\"a at line 1\":1,\"a at line 1\":1}", "the key \"a at line 1\" is there twice", "each key once"),
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
            ("{\"labels\":[2]}", "\"labels\" is no example by itself", "\"input_ids\""),
            ("{\"prompt\":\"a\",\"completion\":\"b\",\"label\":1}", "label is a number", "true for a good"),
            ("{\"prompt\":\"a\",\"completion\":\"b\",\"label\":null}", "label is null", "without a label"),
            ("{\"prompt\":\"a\",\"completion\":\"\",\"label\":true}", "completion is empty", "\"label\""),
            ("{\"prompt\":\"a\",\"label\":true}", "no \"completion\"", "\"label\""),
            ("{\"prompt\":\"a\",\"chosen\":\"b\"}", "no \"rejected\"", "\"rejected\""),
            ("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejectd\":\"c\"}", "no \"rejected\"", "rename \"rejectd\""),
            ("{\"Chosen\":\"b\",\"rejected\":\"c\"}", "no \"chosen\"", "rename \"Chosen\" to \"chosen\""),
            ("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}", "are the same", "leave the row out"),
            ("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"\"}", "rejected is empty", "\"rejected\""),
            ("{\"prompt\":\"a\",\"chosen\":[],\"rejected\":\"b\"}", "chosen is empty", "\"rejected\""),
            ("{\"chosen\":\"a\",\"rejected\":1}", "rejected is a number", "\"rejected\""),
            (
                "{\"chosen\":\"a\",\"rejected\":[{\"role\":\"assistant\",\"content\":\"b\"}]}",
                "chosen and rejected are not of one kind",
                "\"rejected\"",
            ),
            (
                "{\"prompt\":\"a\",\"chosen\":[{\"role\":\"assistant\",\"content\":\"a\"}],\
                    \"rejected\":[{\"role\":\"assistant\",\"content\":\"b\"}]}",
                "prompt and chosen are not of one kind",
                "leave prompt out",
            ),
            (
                "{\"chosen\":[{\"role\":\"user\",\"content\":\"a\"}],\"rejected\":\"b\"}",
                "the last message of chosen is of \"user\"",
                "the assistant",
            ),
            ("{\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":\"1\"}", "margin is a text", "\"rejected\""),
            ("{\"chosen_ids\":[1],\"rejected_ids\":[2]}", "no \"prompt_ids\"", "\"rejected\""),
            ("{\"prompt_ids\":[1],\"chosen_ids\":[2],\"rejected_ids\":[]}", "rejected_ids is empty", "\"rejected\""),
            ("{\"prompt_ids\":[1],\"chosen_ids\":[2],\"rejected_ids\":[2]}", "are the same", "leave the row out"),
            ("{\"prompt_ids\":[1],\"completion_ids\":[2]}", "no \"label\"", "\"label\""),
            (
                "{\"prompt_ids\":[1],\"completion_ids\":[2],\"labels\":true}",
                "no \"label\"",
                "rename \"labels\" to \"label\"",
            ),
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
    fn columns_that_nobody_reads_are_told_once_a_file() {
        let told = |text: &str| {
            let import = import_jsonl("d", text);
            assert!(import.errors.is_empty(), "{:?}", import.errors);
            assert!(import.warnings.iter().all(|warning| warning.code == "unread"));
            import.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
        };
        for (row, expected) in [
            (
                "{\"prompt\":\"a\",\"completion\":\"b\",\"lable\":true}",
                "\"lable\" is not read; did you mean \"label\"?",
            ),
            // "labels" is a field itself, of other rows.
            ("{\"prompt\":\"a\",\"completion\":\"b\",\"labels\":1}", "\"labels\" is not read; did you mean \"label\"?"),
            ("{\"input_ids\":[1],\"assistant_masks\":[1]}", "\"assistant_masks\" is not read"),
            (
                "{\"chosen\":\"a\",\"rejected\":\"b\",\"promt\":\"c\"}",
                "\"promt\" is not read; did you mean \"prompt\"?",
            ),
            ("{\"text\":\"a\",\"label\":true}", "\"label\" is not read"),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[]}", "\"tools\" is not read"),
            ("{\"text\":\"a\",\"\\u001b[2J\":1}", "\"\\u{1b}[2J\" is not read"),
        ] {
            assert_eq!(told(row), [format!("d, line 1: the column {expected}")]);
        }
        // A file's rows are counted, in the order of the columns' first ones. An empty field says nothing.
        let rows = "{\"text\":\"a\",\"z\":1,\"empty\":null}\n\n{\"text\":\"a\",\"y\":1,\"z\":2}\n";
        assert_eq!(
            told(rows),
            ["d, line 1 (2 rows): the column \"z\" is not read", "d, line 3: the column \"y\" is not read"]
        );
        let columns = |count: usize| (10..10 + count).map(|n| format!(",\"c{n}\":1")).collect::<String>();
        let many = |count: usize| told(&format!("{{\"text\":\"a\"{}}}", columns(count)));
        assert_eq!(many(10).len(), 10);
        assert_eq!(many(11)[10], "d, line 1: the column \"c20\" is not read");
        assert_eq!(many(14)[10], "d, line 1: the column \"c20\" is not read, and 3 others are not, either");
        assert_eq!(many(14).len(), 11);
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
