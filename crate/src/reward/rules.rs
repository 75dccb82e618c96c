//! Rewards by rule: a function of the answer and the row that its prompt came from.

use std::collections::HashSet;

use fancy_regex::Regex;
use serde_json::Value;

use super::answer::{Answer, Earned, Reward};
use crate::data::prompts::PromptRow;
use crate::settings::config::RewardKind;
use crate::{Error, Result};

/// A rule that judges answers.
pub struct Rule {
    name: String,
    kind: RewardKind,
    pattern: Option<Regex>,
}

/// A number as people write it.
const NUMBER: &str = r"-?\d[\d,]*(\.\d+)?";

impl Rule {
    /// The rule of a kind; `None` for a kind that is none.
    ///
    /// # Errors
    /// [`Error::Config`] for a pattern that is no regular expression.
    pub fn new(kind: &RewardKind) -> Result<Option<Self>> {
        let pattern = match kind {
            RewardKind::Model(_)
            | RewardKind::Judge(_)
            | RewardKind::JudgePairs(_)
            | RewardKind::JsonSchema(_)
            | RewardKind::Command(_)
            | RewardKind::Function => return Ok(None),
            RewardKind::Regex(pattern) => Some(pattern.as_str()),
            RewardKind::Number(_) => Some(NUMBER),
            _ => None,
        };
        let pattern = pattern.map(Regex::new).transpose().map_err(|error| Error::Config {
            field: "reward".into(),
            what: format!("{} is no regular expression: {error}", kind.name()),
            help: "correct the pattern".into(),
        })?;
        Ok(Some(Self { name: kind.name(), kind: kind.clone(), pattern }))
    }

    /// Makes sure that each row has the column that the rule compares with.
    ///
    /// # Errors
    /// [`Error::Data`] for the first row of the file that has none.
    pub fn check(&self, file: &str, rows: &[PromptRow]) -> Result<()> {
        let (RewardKind::Exact(column) | RewardKind::Contains(column) | RewardKind::Number(column)) = &self.kind else {
            return Ok(());
        };
        let has = |row: &&PromptRow| match row.columns.get(column) {
            Some(Value::String(text)) => {
                !text.trim().is_empty() && (self.pattern.is_none() || self.last_number(text).is_some())
            }
            Some(Value::Number(_)) => true,
            _ => false,
        };
        let Some(row) = rows.iter().find(|row| !has(row)) else { return Ok(()) };
        let wanted = if self.pattern.is_some() { "number" } else { "text" };
        Err(Error::Data {
            file: file.into(),
            line: Some(row.line),
            what: format!("the reward {} compares with the column {column}, and there is no {wanted} in it", self.name),
            help: format!("give each row its {column}, or name another column"),
        })
    }

    fn last_number(&self, text: &str) -> Option<f64> {
        let found = self.pattern.as_ref()?.find_iter(text).flatten().last()?;
        found.as_str().replace(',', "").parse().ok()
    }

    /// What an answer earns.
    pub fn grade(&self, answer: &Answer) -> Option<f64> {
        let text = answer.text.trim();
        let column = |name: &String| match answer.columns.get(name) {
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        Some(match &self.kind {
            RewardKind::Exact(name) => f64::from(text == column(name)?),
            RewardKind::Contains(name) => f64::from(text.contains(&column(name)?)),
            RewardKind::Number(name) => {
                let right = self.last_number(&column(name)?)?;
                f64::from(self.last_number(text) == Some(right))
            }
            // One that takes too long to match is not found.
            RewardKind::Regex(_) => f64::from(self.pattern.as_ref()?.is_match(answer.text).unwrap_or(false)),
            RewardKind::Json => f64::from(serde_json::from_str::<Value>(text).is_ok()),
            RewardKind::JsonFields(fields) => json_fields(text, fields),
            RewardKind::MaxWords(most) => f64::from((1..=*most as usize).contains(&text.split_whitespace().count())),
            RewardKind::ThinkFormat => {
                let rest = text.strip_prefix("<think>");
                f64::from(rest.is_some_and(|rest| rest.contains("</think>") && !rest.contains("<think>")))
            }
            // DAPO's, arXiv:2503.14476.
            RewardKind::SoftOverlong(last) => {
                let (last, most) = (f64::from(*last), answer.max_length as f64);
                ((most - last - answer.ids.len() as f64) / last.max(1.0)).clamp(-1.0, 0.0)
            }
            RewardKind::Repetition(size) => {
                let runs: Vec<&[u32]> = answer.ids.windows((*size).max(1) as usize).collect();
                let distinct = runs.iter().collect::<HashSet<_>>().len();
                if runs.is_empty() { 0.0 } else { distinct as f64 / runs.len() as f64 - 1.0 }
            }
            RewardKind::Model(_)
            | RewardKind::Judge(_)
            | RewardKind::JudgePairs(_)
            | RewardKind::JsonSchema(_)
            | RewardKind::Command(_)
            | RewardKind::Function => return None,
        })
    }
}

fn json_fields(text: &str, fields: &str) -> f64 {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return 0.0 };
    let fields: Vec<&str> = fields.split('+').collect();
    if object.keys().any(|key| !fields.contains(&key.as_str())) {
        return 0.0;
    }
    object.len() as f64 / fields.len() as f64
}

impl Reward for Rule {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(std::future::ready(Ok(answers.iter().map(|answer| self.grade(answer)).collect())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(kind: RewardKind) -> Rule {
        Rule::new(&kind).unwrap().expect("a rule")
    }

    fn earned(kind: RewardKind, text: &str) -> Option<f64> {
        let columns = json!({ "answer": " Rome ", "total": "So 1,250 in all", "whole": 42 });
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        let answer = Answer {
            prompt: "p",
            columns: columns.as_object().unwrap(),
            text,
            prompt_ids: &[1],
            ids: &ids,
            max_length: 20,
        };
        rule(kind).grade(&answer)
    }

    #[test]
    fn rules_grade_as_they_say() {
        use RewardKind::{
            Contains, Exact, Json, JsonFields, MaxWords, Number, Regex, Repetition, SoftOverlong, ThinkFormat,
        };
        let answer = || "answer".to_owned();
        for (kind, text, want) in [
            (Exact(answer()), "Rome\n", 1.0),
            (Exact(answer()), "Rome.", 0.0),
            (Contains(answer()), "It is Rome.", 1.0),
            (Contains(answer()), "It is rome.", 0.0),
            (Number("total".into()), "first 7, then 1250", 1.0),
            (Number("total".into()), "1250, not 7", 0.0),
            (Number("total".into()), "none", 0.0),
            (Number("whole".into()), "42.0", 1.0),
            (Number("whole".into()), "-42", 0.0),
            (Regex(r"\.$".into()), "Yes.", 1.0),
            (Regex(r"\.$".into()), "Yes", 0.0),
            (Json, " {\"a\": 1} ", 1.0),
            (Json, "{\"a\": 1", 0.0),
            (JsonFields("a+b".into()), "{\"a\": 1, \"b\": null}", 1.0),
            (JsonFields("a+b".into()), "{\"a\": 1}", 0.5),
            (JsonFields("a+b".into()), "{\"a\": 1, \"c\": 1}", 0.0),
            (JsonFields("a+b".into()), "[1]", 0.0),
            (MaxWords(3), "one two  three", 1.0),
            (MaxWords(3), "one two three four", 0.0),
            (MaxWords(3), " ", 0.0),
            (ThinkFormat, "<think>a</think>b", 1.0),
            (ThinkFormat, "a<think>a</think>b", 0.0),
            (ThinkFormat, "<think>a<think></think>", 0.0),
            (ThinkFormat, "<think>a", 0.0),
            (SoftOverlong(8), "123456789012", 0.0),
            (SoftOverlong(8), "12345678901234", -0.25),
            (SoftOverlong(8), "1234567890123456789012345", -1.0),
            (Repetition(3), "ab", 0.0),
            (Repetition(3), "abcdef", 0.0),
            (Repetition(3), "aaaaaa", -0.75),
        ] {
            assert_eq!(earned(kind.clone(), text), Some(want), "{kind:?} of {text:?}");
        }
        assert_eq!(earned(Exact("none".into()), "a"), None);
    }

    #[test]
    fn a_row_without_the_column_is_named() {
        use crate::data::prompts::import_prompts;
        let (rows, _) = import_prompts("p.jsonl", "{\"prompt\":\"a\",\"x\":\"3\"}\n{\"prompt\":\"b\",\"x\":\"no\"}");
        assert!(rule(RewardKind::Exact("x".into())).check("p.jsonl", &rows).is_ok());
        for (kind, told) in [
            (RewardKind::Exact("y".into()), "line 1: the reward exact:y compares with the column y"),
            (RewardKind::Number("x".into()), "line 2: the reward number:x"),
        ] {
            let error = rule(kind).check("p.jsonl", &rows).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let error = Rule::new(&RewardKind::Regex("(".into())).err().expect("no pattern").to_string();
        assert!(error.contains("regex:( is no regular expression"), "{error}");
    }
}
