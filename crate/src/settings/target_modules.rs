//! Which linear layers a method changes, in PEFT's three notations.

use fancy_regex::Regex;
use serde_json::Value;

use super::field::{FieldValue, Input};

/// PEFT's `target_modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// "all-linear": every linear layer but the output head.
    AllLinear,
    /// Names, or ends of paths at a dot: "q_proj", "self_attn.q_proj".
    Suffixes(Vec<String>),
    /// A regular expression for the whole path.
    Regex(String),
}

impl TargetModules {
    /// Whether a linear layer is one of them, by its path ("model.layers.0.self_attn.q_proj").
    pub fn matches(&self, path: &str) -> bool {
        let ends_with = |name: &str| path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        match self {
            TargetModules::AllLinear => !ends_with("lm_head"),
            TargetModules::Suffixes(names) => names.iter().any(|name| ends_with(name)),
            TargetModules::Regex(source) => whole(source).is_ok_and(|regex| regex.is_match(path).unwrap_or(false)),
        }
    }

    /// A single text: the keyword, or a regular expression that compiles.
    fn from_str(text: &str) -> Option<Self> {
        match text {
            "all-linear" => Some(TargetModules::AllLinear),
            "" => None,
            _ => whole(text).is_ok().then(|| TargetModules::Regex(text.into())),
        }
    }

    fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        (!names.is_empty() && names.iter().all(|name| !name.is_empty())).then_some(TargetModules::Suffixes(names))
    }
}

/// Anchored at both ends, as Python's `re.fullmatch`.
pub(super) fn whole(source: &str) -> Result<Regex, Box<fancy_regex::Error>> {
    Regex::new(&format!(r"\A(?:{source})\z")).map_err(Box::new)
}

impl FieldValue for TargetModules {
    const KIND: &'static str = "modules";
    const EXPECTED: &'static str = "\"all-linear\", a list of names, or a regular expression";

    /// In JSON, a text is a regular expression as in PEFT. On the command line, names with commas
    /// between them are a list.
    fn read(input: Input) -> Option<Self> {
        match input {
            Input::Json(Value::Array(names)) => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                Self::from_names(names?.into_iter())
            }
            Input::Json(value) => Self::from_str(value.as_str()?),
            Input::Text("all-linear") => Some(TargetModules::AllLinear),
            Input::Text(text) if text.chars().all(|c| c.is_alphanumeric() || "_., ".contains(c)) => {
                Self::from_names(text.split(','))
            }
            Input::Text(text) => Self::from_str(text),
        }
    }

    fn json(&self) -> Value {
        match self {
            TargetModules::AllLinear => "all-linear".into(),
            TargetModules::Suffixes(names) => names.clone().into(),
            TargetModules::Regex(source) => source.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.3.self_attn.q_proj";

    #[test]
    fn reads_each_notation() {
        let json = |text: &str| TargetModules::read(Input::Json(&serde_json::from_str(text).unwrap()));
        let text = |text: &str| TargetModules::read(Input::Text(text));
        let list = |names: &[&str]| Some(TargetModules::Suffixes(names.iter().map(|n| n.to_string()).collect()));
        let regex = |source: &str| Some(TargetModules::Regex(source.into()));
        assert_eq!(json("\"all-linear\""), Some(TargetModules::AllLinear));
        assert_eq!(json("[\"q_proj\", \"v_proj\"]"), list(&["q_proj", "v_proj"]));
        assert_eq!(json("\".*q_proj\""), regex(".*q_proj"));
        assert_eq!(json("\"q_proj\""), regex("q_proj"));
        assert_eq!(text("all-linear"), Some(TargetModules::AllLinear));
        assert_eq!(text("q_proj"), list(&["q_proj"]));
        assert_eq!(text("q_proj, self_attn.v_proj"), list(&["q_proj", "self_attn.v_proj"]));
        assert_eq!(text(r".*\.(q|v)_proj"), regex(r".*\.(q|v)_proj"));
        for wrong in ["[]", "[\"\"]", "[1]", "\"(\"", "\"\"", "3"] {
            assert_eq!(json(wrong), None, "{wrong}");
        }
        for wrong in ["", "q_proj,", "*"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn matches_as_peft_does() {
        let list = |name: &str| TargetModules::Suffixes(vec![name.into()]);
        let regex = |source: &str| TargetModules::Regex(source.into());
        assert!(TargetModules::AllLinear.matches(Q) && !TargetModules::AllLinear.matches("lm_head"));
        assert!(list("q_proj").matches(Q) && list("self_attn.q_proj").matches(Q) && list(Q).matches(Q));
        assert!(!list("proj").matches(Q) && !list("v_proj").matches(Q));
        assert!(regex(r".*\.(q|v)_proj").matches(Q) && regex(r"model\.layers\.[0-3]\..*").matches(Q));
        assert!(!regex("q_proj").matches(Q), "the whole path must match");
        assert!(regex(r".*(?<!k)_proj").matches(Q), "look-behind, as Python has it");
    }
}
