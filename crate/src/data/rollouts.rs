//! Answers that a model wrote and what they earned, as JSONL: one answer a row, those to one prompt side by side.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::import::{Wrong, object, wrong};
use crate::Error;

/// An answer that was written, and what it earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutRow {
    /// What was given.
    pub prompt_ids: Vec<u32>,
    /// What was written; the end token belongs to it, and without one the answer was cut.
    pub completion_ids: Vec<u32>,
    /// What it earned, by reward; null where a reward has nothing to say.
    pub rewards: Map<String, Value>,
    /// The log-probability of each token when it was drawn, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logps: Option<Vec<f32>>,
}

/// Reads rollouts of `group` answers to each prompt and a model of `vocab` tokens. `name` is the file's, for messages.
///
/// # Errors
/// The first row that cannot be used, or the first group that is not whole.
pub fn import_rollouts(name: &str, text: &str, group: usize, vocab: usize) -> Result<Vec<RolloutRow>, Error> {
    let at = |line: Option<usize>, (what, help): Wrong| Error::Data { file: name.into(), line, what, help };
    let mut rows: Vec<(usize, RolloutRow)> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if !line.trim().is_empty() {
            let row = object(line).and_then(|columns| read(columns, vocab)).map_err(|why| at(Some(index + 1), why))?;
            rows.push((index + 1, row));
        }
    }
    if rows.is_empty() {
        return Err(at(None, wrong("there are no rollouts")));
    }
    let names = |row: &RolloutRow| row.rewards.keys().cloned().collect::<Vec<_>>();
    for answers in rows.chunks(group) {
        let (line, first) = &answers[0];
        if answers.len() < group || answers.iter().any(|(_, row)| row.prompt_ids != first.prompt_ids) {
            let what = format!("{group} answers to one prompt were expected from here on");
            return Err(at(
                Some(*line),
                (what, "let the answers of a group stand together, and num_generations be their number".into()),
            ));
        }
        if let Some((line, _)) = answers.iter().find(|(_, row)| names(row) != names(&rows[0].1)) {
            return Err(at(
                Some(*line),
                (
                    "its rewards are not those of the first row".into(),
                    "give each row the same rewards in the same order, null where one has nothing to say".into(),
                ),
            ));
        }
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn read(columns: Map<String, Value>, vocab: usize) -> Result<RolloutRow, Wrong> {
    let help =
        "give prompt_ids, completion_ids, and rewards as an object of numbers: a line that --save-rollouts has written";
    let row: RolloutRow = serde_json::from_value(Value::Object(columns))
        .map_err(|error| (format!("it is no rollout: {error}"), help.into()))?;
    if row.prompt_ids.is_empty() || row.completion_ids.is_empty() {
        return Err(("its prompt or its completion has no tokens".into(), "leave it out".into()));
    }
    if let Some(id) = row.prompt_ids.iter().chain(&row.completion_ids).find(|id| **id as usize >= vocab) {
        let what = format!("the id {id} is past the vocabulary of {vocab}");
        return Err((what, "make the ids with this model's tokenizer".into()));
    }
    if let Some((reward, _)) = row.rewards.iter().find(|(_, earned)| !earned.is_null() && !earned.is_number()) {
        return Err((format!("the reward {reward} is no number"), "give a number or null".into()));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_whole_and_alike() {
        let row = |prompt: u32, reward: &str| {
            format!("{{\"prompt_ids\":[{prompt}],\"completion_ids\":[7,2],\"rewards\":{{\"a\":{reward}}}}}\n")
        };
        let good = row(1, "1") + &row(1, "null") + &row(3, "0.5") + &row(3, "-2");
        let rows = import_rollouts("r.jsonl", &good, 2, 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.prompt_ids[0]).collect::<Vec<_>>(), [1, 1, 3, 3]);
        assert_eq!(rows[1].rewards["a"], Value::Null);
        for (text, group, line, told) in [
            (good.clone(), 3, 1, "3 answers"),
            (row(1, "1") + &row(1, "1") + &row(1, "1"), 2, 3, "2 answers"),
            (row(1, "1") + &row(2, "1"), 2, 1, "2 answers"),
            (row(1, "1") + &row(1, "\"b\""), 2, 2, "the reward a is no number"),
            (row(1, "1") + &row(11, "1"), 2, 2, "past the vocabulary"),
            (row(1, "1") + &row(1, "1").replace("\"a\"", "\"b\""), 2, 2, "not those of the first"),
            ("{\"prompt_ids\":[1]}".into(), 2, 1, "no rollout"),
            ("{\"prompt_ids\":[1],\"completion_ids\":[],\"rewards\":{}}".into(), 2, 1, "no tokens"),
        ] {
            let error = import_rollouts("r.jsonl", &text, group, 10).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")) && error.contains(told), "{error}");
        }
        assert!(import_rollouts("r.jsonl", "\n", 2, 10).unwrap_err().to_string().contains("no rollouts"));
    }
}
