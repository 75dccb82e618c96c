//! What an answer earns, as a run's settings name it.

use serde_json::Value;

use super::field::{FieldValue, Input};

macro_rules! reward_kinds {
    ($($kind:ident $(($type:ty, $argument:literal))? = $name:literal, $help:literal;)*) => {
        /// One reward: a rule, a model, a program, or a function of the page.
        #[derive(Debug, Clone, PartialEq)]
        pub enum RewardKind { $(#[doc = $help] $kind $(($type))?,)* }

        impl RewardKind {
            /// Every kind: how it is written, and what it is, in one line.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$((concat!($name $(, ":", $argument)?), $help)),*];

            /// Reads `kind` or `kind:argument`; `None` for what is neither, or a number where none is.
            fn parse(text: &str) -> Option<Self> {
                let (name, argument) = match text.split_once(':') {
                    Some((name, argument)) => (name, Some(argument)),
                    None => (text, None),
                };
                $(if name == $name {
                    return reward_kinds!(@read argument, Self::$kind $(, $type)?);
                })*
                None
            }

            /// As it is written.
            pub fn name(&self) -> String {
                match self { $(reward_kinds!(@pattern argument, Self::$kind $(, $type)?) => reward_kinds!(@write argument, $name $(, $type)?),)* }
            }
        }
    };
    (@read $argument:ident, $kind:path) => { $argument.is_none().then_some($kind) };
    (@read $argument:ident, $kind:path, $type:ty) => {
        $argument.filter(|argument| !argument.is_empty())?.parse::<$type>().ok().map($kind)
    };
    (@pattern $argument:ident, $kind:path) => { $kind };
    (@pattern $argument:ident, $kind:path, $type:ty) => { $kind($argument) };
    (@write $argument:ident, $name:literal) => { $name.to_owned() };
    (@write $argument:ident, $name:literal, $type:ty) => { format!("{}:{}", $name, $argument) };
}

reward_kinds! {
    Model(String, "DIR") = "model", "The score of a reward adapter on the same base.";
    Judge(String, "FILE") = "judge", "The grade from 1 to 10 that a model gives it by the principles in a file: --judge-model, or the base without an adapter.";
    JudgePairs(String, "FILE") = "judge-pairs", "How probably the same judge takes it for the better one, on average over the others to its prompt.";
    Exact(String, "COLUMN") = "exact", "1 where the answer is the text of the row's column, white space at the ends aside, else 0.";
    Contains(String, "COLUMN") = "contains", "1 where the text of the row's column is in the answer, else 0.";
    Number(String, "COLUMN") = "number", "1 where the last number in the answer is the last one in the row's column, else 0.";
    Regex(String, "PATTERN") = "regex", "1 where the pattern is found in the answer, else 0.";
    Json = "json", "1 where the answer is JSON, else 0.";
    JsonFields(String, "A+B") = "json-fields", "The share of these fields that the answer has, as an object of JSON with no others; 0 where it is none.";
    JsonSchema(String, "FILE") = "json-schema", "1 where the answer is JSON that the schema in a file holds for, else 0. Native only.";
    MaxWords(u32, "N") = "max-words", "1 where the answer has from 1 to so many words, else 0.";
    ThinkFormat = "think-format", "1 where the answer begins with a think tag and closes it, once, else 0.";
    SoftOverlong(u32, "N") = "soft-overlong", "0, and down to -1 over the last so many tokens before the most that an answer may have.";
    Repetition(u32, "N") = "repetition", "From 0 down to -1, the more of the runs of so many tokens come again.";
    Command(String, "CMD") = "command", "What a program answers: it reads a line of JSON for each answer, and writes a number or null. Native only.";
    Function = "function", "What a function says that was written in the page. In the page only.";
}

/// The rewards of a run, in order.
impl FieldValue for Vec<RewardKind> {
    const KIND: &'static str = "rewards";
    const EXPECTED: &'static str = "rewards such as regex:PATTERN or max-words:12, each by itself";

    fn read(input: Input) -> Option<Self> {
        match input {
            Input::Json(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().and_then(RewardKind::parse)).collect()
            }
            Input::Json(Value::String(text)) => Self::read(Input::Text(text)),
            Input::Json(_) => None,
            Input::Text("") => Some(Vec::new()),
            // Several, as a list of JSON: an argument may have any character.
            Input::Text(text) if text.starts_with('[') => {
                Self::read(Input::Json(&serde_json::from_str::<Value>(text).ok().filter(Value::is_array)?))
            }
            Input::Text(text) => RewardKind::parse(text).map(|kind| vec![kind]),
        }
    }

    fn json(&self) -> Value {
        self.iter().map(RewardKind::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_written_as_they_are_read() {
        for text in [
            "model:runs/score",
            "exact:answer",
            "number:a b",
            r"regex:^a,b:\d+$",
            "json",
            "json-fields:a+b",
            "json-schema:a.json",
            "max-words:12",
            "think-format",
            "command:python3 judge.py --fast",
        ] {
            assert_eq!(RewardKind::parse(text).expect(text).name(), text);
        }
        for wrong in ["", "exact", "exact:", "json:a", "max-words:few", "max-words:-1", "think", "regexp:a"] {
            assert_eq!(RewardKind::parse(wrong), None, "{wrong}");
        }
        let several = Vec::<RewardKind>::read(Input::Text(r#"["regex:a,b","json"]"#)).unwrap();
        assert_eq!(several, [RewardKind::Regex("a,b".into()), RewardKind::Json]);
        assert_eq!(Vec::<RewardKind>::read(Input::Json(&several.json())), Some(several));
        assert_eq!(Vec::<RewardKind>::read(Input::Text("[a]")), None);
    }
}
