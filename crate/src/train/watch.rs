//! What a person should know of a run that learns from answers, in plain words.

use serde_json::{Map, Value};

use super::event::Event;
use crate::settings::config::RunConfig;
use crate::{Error, Result};

/// Generations in a row without a verdict after which a run gives up.
const UNJUDGED: usize = 3;

/// How much likelier an answer may become than under the reference, in nats, before that is told: e^10 is 22,000 times.
const FAR: f64 = 10.0;

/// Looks at each generation; a warning is given when it begins to hold.
#[derive(Default)]
pub(super) struct Watch {
    /// Generations in a row of which nothing could be judged.
    unjudged: usize,
    /// Tokens of an answer of the last generation, in the mean.
    length: f64,
    /// Warnings that hold.
    holds: Vec<&'static str>,
}

impl Watch {
    /// Looks at the answers of a generation: the sum of what each earned, whether any is learnt from, and the metrics.
    ///
    /// # Errors
    /// [`Error::Config`] when no answer could be judged for several generations.
    pub fn look(
        &mut self,
        config: &RunConfig,
        totals: &[Option<f64>],
        learns: bool,
        metrics: &Map<String, Value>,
    ) -> Result<Vec<Event>> {
        let all = totals.len();
        let unjudged = totals.iter().filter(|total| total.is_none()).count();
        self.unjudged = if unjudged == all { self.unjudged + 1 } else { 0 };
        if self.unjudged == UNJUDGED {
            return Err(Error::Config {
                field: "reward".into(),
                what: format!("no reward had anything to say of any answer, {UNJUDGED} times in a row"),
                help: "try the rewards on an answer of your own".into(),
            });
        }
        let is = |name: &str| metrics.get(name).and_then(Value::as_f64).unwrap_or_default();
        self.length = is("completions/mean_length");
        let most = config.max_completion_length;
        let warnings = [
            (
                "unjudged",
                unjudged > 0,
                format!("no reward had anything to say of {unjudged} of {all} answers: nothing is learnt from them"),
            ),
            (
                "no-spread",
                !learns && unjudged < all,
                "all answers to a prompt earn the same, so there is nothing to learn: take prompts that the model gets \
                 right now and then, more answers to each, or a reward with more steps"
                    .into(),
            ),
            (
                "all-truncated",
                is("completions/clipped_ratio") == 1.0,
                format!(
                    "every answer was cut at {most} tokens before it ended: raise max_completion_length, or reward short \
                     answers"
                ),
            ),
            (
                "answers-vanish",
                self.length < 2.0,
                "the answers have shrunk to almost nothing: add a reward that an empty answer does not earn".into(),
            ),
        ];
        Ok(warnings.into_iter().filter_map(|(code, holds, message)| self.begins(code, holds, message)).collect())
    }

    /// Looks at the metrics of a step.
    pub fn look_at_step(&mut self, metrics: &Map<String, Value>) -> Option<Event> {
        let far = metrics.get("kl").and_then(Value::as_f64)? * self.length;
        let message = format!(
            "the answers have moved {far:.0} nats from the model that the run began with, and may earn by no longer making \
             sense: read some, raise beta or lower learning_rate"
        );
        self.begins("kl", far > FAR, message)
    }

    fn begins(&mut self, code: &'static str, holds: bool, message: String) -> Option<Event> {
        let known = self.holds.contains(&code);
        if holds && !known {
            self.holds.push(code);
            return Some(Event::Warning { code, message });
        }
        if !holds {
            self.holds.retain(|other| *other != code);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::config::{Method, Objective};

    #[test]
    fn warnings_come_when_they_begin_to_hold() {
        let config = RunConfig::defaults(Method::Lora, Objective::Grpo);
        let mut watch = Watch::default();
        let mut look = |totals: &[Option<f64>], learns: bool, cut: f64, length: f64| -> Result<Vec<&'static str>> {
            let metrics = json!({ "completions/clipped_ratio": cut, "completions/mean_length": length });
            let events = watch.look(&config, totals, learns, metrics.as_object().unwrap())?;
            let code = |event| if let Event::Warning { code, .. } = event { code } else { "none" };
            Ok(events.into_iter().map(code).collect())
        };
        let all = [Some(1.0), Some(0.0)];
        assert!(look(&all, true, 0.5, 9.0).unwrap().is_empty());
        assert_eq!(look(&[Some(1.0); 2], false, 1.0, 9.0).unwrap(), ["no-spread", "all-truncated"]);
        assert!(look(&[Some(1.0); 2], false, 1.0, 9.0).unwrap().is_empty());
        assert_eq!(look(&all, true, 1.0, 1.0).unwrap(), ["answers-vanish"]);
        assert_eq!(look(&[Some(1.0), None], false, 0.0, 9.0).unwrap(), ["unjudged", "no-spread"]);
        look(&[None; 2], false, 0.0, 9.0).unwrap();
        look(&[None; 2], false, 0.0, 9.0).unwrap();
        assert!(look(&[None; 2], false, 0.0, 9.0).unwrap_err().to_string().contains("3 times in a row"));
        // 9 tokens an answer: 9 nats, and 18.
        let told = |kl: f64, watch: &mut Watch| watch.look_at_step(json!({ "kl": kl }).as_object().unwrap()).is_some();
        assert_eq!([1.0, 2.0, 2.0, 0.5, 2.0].map(|kl| told(kl, &mut watch)), [false, true, false, false, true]);
    }
}
