//! Numbers that some of the layers have instead of the run's, as PEFT's `rank_pattern` and `alpha_pattern` have them.

use serde_json::{Map, Value};

use super::field::{FieldValue, Input};
use super::target_modules::whole;

/// Patterns of layers with a number each; of those that fit a layer, the first counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns<N>(Vec<(String, N)>);

impl<N> Default for Patterns<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: Copy> Patterns<N> {
    /// The number of a layer, by its path ("model.layers.0.self_attn.q_proj"): that of the first pattern which is a
    /// regular expression for the path, or for all of it behind some dot.
    pub fn get(&self, path: &str) -> Option<N> {
        self.0.iter().find(|(pattern, _)| fits(pattern, path)).map(|&(_, number)| number)
    }

    /// The patterns that fit none of these paths: nobody would notice that they do nothing.
    pub fn unused<'a>(&'a self, paths: &'a [String]) -> impl Iterator<Item = &'a str> {
        let unused = |pattern: &&str| !paths.iter().any(|path| fits(pattern, path));
        self.0.iter().map(|(pattern, _)| pattern.as_str()).filter(unused)
    }
}

/// As PEFT decides it.
fn fits(pattern: &str, path: &str) -> bool {
    whole(&tail(pattern)).is_ok_and(|regex| regex.is_match(path).unwrap_or(false))
}

fn tail(pattern: &str) -> String {
    format!(r"(.*\.)?(?:{pattern})")
}

impl<N: FieldValue> FieldValue for Patterns<N> {
    const KIND: &'static str = "patterns";
    const EXPECTED: &'static str = "patterns of layers with a number each, such as q_proj=4,v_proj=8";

    /// In JSON an object; a text, in JSON or on the command line, has commas between the patterns, or is such an object.
    fn read(input: Input) -> Option<Self> {
        let pairs: Vec<(String, N)> = match input {
            Input::Json(Value::Object(object)) => {
                let pair =
                    |(pattern, number): (&String, &Value)| Some((pattern.clone(), N::read(Input::Json(number))?));
                object.iter().map(pair).collect::<Option<_>>()?
            }
            Input::Json(value) => return Self::read(Input::Text(value.as_str()?)),
            Input::Text(text) if text.trim().is_empty() => Vec::new(),
            Input::Text(text) if text.trim_start().starts_with('{') => {
                let object: Map<String, Value> = serde_json::from_str(text).ok()?;
                return Self::read(Input::Json(&Value::Object(object)));
            }
            Input::Text(text) => {
                let pair = |pair: &str| {
                    let (pattern, number) = pair.rsplit_once('=')?;
                    Some((pattern.trim().to_owned(), N::read(Input::Text(number.trim()))?))
                };
                text.split(',').map(pair).collect::<Option<_>>()?
            }
        };
        let sound = |(pattern, _): &(String, N)| !pattern.is_empty() && whole(&tail(pattern)).is_ok();
        pairs.iter().all(sound).then_some(Self(pairs))
    }

    fn json(&self) -> Value {
        self.0.iter().map(|(pattern, number)| (pattern.clone(), number.json())).collect::<Map<_, _>>().into()
    }

    fn numbers(&self) -> Vec<f64> {
        self.0.iter().flat_map(|(_, number)| number.numbers()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.3.self_attn.q_proj";

    fn text(text: &str) -> Option<Patterns<u32>> {
        Patterns::read(Input::Text(text))
    }

    #[test]
    fn the_first_that_fits_counts() {
        let patterns = text(r"layers\.[0-2]\..*=1,self_attn.q_proj=2,q_proj=3,^model\.layers\.3.*=4").unwrap();
        assert_eq!(patterns.get(Q), Some(2));
        assert_eq!(patterns.get("model.layers.2.self_attn.q_proj"), Some(1));
        assert_eq!(patterns.get("model.layers.4.mlp.q_proj"), Some(3));
        assert_eq!(patterns.get("model.layers.3.mlp.up_proj"), Some(4));
        assert_eq!(patterns.get("model.layers.4.mlp.up_proj"), None);
        assert_eq!(text("proj=1").unwrap().get(Q), None, "a name is whole");
        let paths = [Q.to_owned()];
        assert_eq!(patterns.unused(&paths).collect::<Vec<_>>(), [r"layers\.[0-2]\..*"]);
    }

    #[test]
    fn either_notation_is_read_and_written_again() {
        let json: Value = serde_json::from_str(r#"{"q_proj": 4, "mlp.(up|down)_proj": 8}"#).unwrap();
        let patterns = Patterns::<u32>::read(Input::Json(&json)).unwrap();
        assert_eq!(Some(&patterns), text("q_proj=4, mlp.(up|down)_proj=8").as_ref());
        assert_eq!(Some(&patterns), text(&json.to_string()).as_ref());
        assert_eq!(patterns.json().to_string(), json.to_string(), "in the same order, for the first counts");
        assert_eq!(Patterns::<u32>::read(Input::Json(&"".into())), Some(Patterns::default()));
        for wrong in ["q_proj", "=4", "q_proj=x", "q_proj=4,", "(=4", "{\"q_proj\": -1}"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }
}
