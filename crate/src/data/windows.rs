//! Texts to learn a language from: documents, and the windows of tokens that a model is trained on.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::text::tokenizer::Tokenizer;
use crate::{Error, Result};

/// The documents of a file: each row's `text` where it is JSONL (its name ends in `.jsonl`), and else all of it.
///
/// # Errors
/// [`Error::Data`] for a row without a text, with its line.
pub fn documents(file: &str, text: String) -> Result<Vec<String>> {
    if !file.ends_with(".jsonl") {
        return Ok(Vec::from_iter((!text.trim().is_empty()).then_some(text)));
    }
    let mut documents = Vec::new();
    for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let wrong = |what: String| Error::Data {
            file: file.into(),
            line: Some(line + 1),
            what,
            help: "give each row a text, as in {\"text\": \"…\"}".into(),
        };
        let row: Map<String, Value> = serde_json::from_str(row).map_err(|e| wrong(format!("no JSON object: {e}")))?;
        match row.get("text").and_then(Value::as_str) {
            Some("") => return Err(wrong("text is empty".into())),
            Some(text) => documents.push(text.to_owned()),
            None => return Err(wrong("there is no text".into())),
        }
    }
    Ok(documents)
}

/// The last share of the texts, by bytes, apart from what comes before: to learn from, and to be held out. A document is
/// cut where the share begins in it, between two characters.
pub fn hold_out(documents: Vec<String>, share: f64) -> [Vec<String>; 2] {
    let all: usize = documents.iter().map(String::len).sum();
    let mut left = ((1.0 - share) * all as f64).ceil() as usize;
    let (mut learnt, mut held_out) = (Vec::new(), Vec::new());
    for document in documents {
        let at = (0..=left.min(document.len())).rev().find(|&at| document.is_char_boundary(at)).unwrap_or_default();
        left -= left.min(document.len());
        let (before, behind) = document.split_at(at);
        learnt.extend((!before.is_empty()).then(|| before.to_owned()));
        held_out.extend((!behind.is_empty()).then(|| behind.to_owned()));
    }
    [learnt, held_out]
}

/// The documents one behind another, each ended by the token that ends a text, in windows of `length` tokens; the last may be
/// shorter. As rows of JSONL with `input_ids` and `labels`; the ends of documents are learnt only `with_ends`.
///
/// # Errors
/// As [`Tokenizer::encode`]; [`Error::Format`] for a tokenizer that has no end of a text.
pub fn windows(tokenizer: &Tokenizer, documents: &[String], length: usize, with_ends: bool) -> Result<String> {
    let end = tokenizer.eos().ok_or_else(|| Error::Format {
        file: "tokenizer".into(),
        what: "it has no token that ends a text, so documents would run into each other".into(),
        help: "use the tokenizer of another model, or let one be learnt".into(),
    })?;
    let mut rows = String::new();
    let mut window = Vec::with_capacity(length);
    let mut push = |window: &mut Vec<u32>| {
        // One token alone has nothing to predict.
        if window.len() > 1 {
            let labels = window.iter().map(|&id| if id == end && !with_ends { -100 } else { i64::from(id) });
            let labels = labels.map(|label| label.to_string()).collect::<Vec<_>>().join(",");
            let ids = window.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            writeln!(rows, "{{\"input_ids\":[{ids}],\"labels\":[{labels}]}}").expect("a string takes it");
        }
        window.clear();
    };
    for document in documents {
        for id in tokenizer.encode(document, false)?.into_iter().chain([end]) {
            window.push(id);
            if window.len() == length {
                push(&mut window);
            }
        }
    }
    push(&mut window);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_documents() {
        let texts = |file: &str, text: &str| documents(file, text.into());
        assert_eq!(texts("a.txt", "Some {text}.\n").unwrap(), ["Some {text}.\n"]);
        assert!(texts("a.txt", " \n").unwrap().is_empty());
        assert_eq!(texts("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\", \"id\": 3}").unwrap(), ["a", "b"]);
        for (rows, words) in [
            ("{\"text\": \"a\"}\n{\"prompt\": \"b\"}", "line 2: there is no text"),
            ("{\"text\": \"\"}", "line 1: text is empty"),
            ("text", "line 1: no JSON object"),
        ] {
            let error = texts("a.jsonl", rows).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_share_is_held_out_between_characters() {
        let texts = || vec!["0123456789".to_owned(), "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".to_owned()];
        let [learnt, held_out] = hold_out(texts(), 0.25);
        assert_eq!(learnt, ["0123456789", "\u{e9}\u{e9}"]);
        assert_eq!(held_out, ["\u{e9}\u{e9}\u{e9}"]);
        assert_eq!(
            hold_out(texts(), 0.5),
            [vec!["0123456789".to_owned()], vec!["\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".into()]]
        );
        assert_eq!(hold_out(texts(), 0.0), [texts(), Vec::new()]);
    }
}
