//! A JSON schema as a reward: 1 where the answer is JSON that it holds for, else 0.

use jsonschema::Validator;
use serde_json::Value;
use tunesmith::reward::{Answer, Earned, Reward};
use tunesmith::{Error, Result};

/// A schema that judges answers.
pub struct RewardSchema {
    name: String,
    validator: Validator,
}

impl RewardSchema {
    /// The schema of a file, of any draft that it names; nothing outside it is looked up.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that is no JSON, or no schema.
    pub fn new(name: &str, file: &str, text: &str) -> Result<Self> {
        let wrong = |line: Option<usize>, what: String| Error::Data {
            file: file.into(),
            line,
            what,
            help: "write a JSON schema, such as {\"type\": \"object\", \"required\": [\"name\"]}".into(),
        };
        let schema: Value = serde_json::from_str(text)
            .map_err(|error| wrong(Some(error.line()), format!("this is no JSON: {error}")))?;
        let validator = jsonschema::validator_for(&schema)
            .map_err(|error| wrong(None, format!("this is no JSON schema: {error}")))?;
        Ok(Self { name: name.into(), validator })
    }

    fn grade(&self, text: &str) -> f64 {
        let holds = serde_json::from_str(text.trim()).is_ok_and(|value: Value| self.validator.is_valid(&value));
        f64::from(holds)
    }
}

impl Reward for RewardSchema {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(std::future::ready(Ok(answers.iter().map(|answer| Some(self.grade(answer.text))).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_holds_for() {
        let schema = r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"},
            "age":{"type":"integer","minimum":0}},"additionalProperties":false}"#;
        let schema = RewardSchema::new("json-schema:s.json", "s.json", schema).unwrap();
        let earned = [
            "{\"name\":\"a\"}",
            " {\"name\":\"a\",\"age\":3}\n",
            "{\"age\":3}",
            "{\"name\":1}",
            "{\"name\":\"a\",\"b\":1}",
            "name",
        ];
        assert_eq!(earned.map(|text| schema.grade(text)), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_no_schema_is_told() {
        let error = |text: &str| RewardSchema::new("json-schema:s.json", "s.json", text).err().expect(text).to_string();
        assert!(error("{\n\"type\":").contains("s.json, line 2: this is no JSON"), "{}", error("{\n\"type\":"));
        assert!(error("{\"type\":\"thing\"}").contains("s.json: this is no JSON schema"));
        assert!(error("{\"$ref\":\"http://127.0.0.1:9/x\"}").contains("this is no JSON schema"));
    }
}
