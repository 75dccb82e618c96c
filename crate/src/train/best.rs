//! Which evaluation of a run is the best, and when a run that gets no better stops: the rule of the transformers library
//! (`load_best_model_at_end` and its `EarlyStoppingCallback`). The evaluation before the first step is not among them.

use super::event::{BestEvaluation, Event};
use crate::settings::config::RunConfig;
use crate::{Error, Result};

/// Looks at every evaluation of a run.
#[derive(Debug)]
pub struct Best {
    metric: String,
    patience: usize,
    threshold: f64,
    found: Option<BestEvaluation>,
    /// The parameters at that time, tensor by tensor in the file's order, where they are kept.
    pub(super) values: Option<Vec<Vec<f32>>>,
}

impl Best {
    /// `None` where the run neither keeps the best nor stops early.
    pub fn new(config: &RunConfig) -> Option<Self> {
        (config.load_best_model_at_end || config.early_stopping_patience > 0).then(|| Self {
            metric: config.metric_for_best_model.clone(),
            patience: config.early_stopping_patience as usize,
            threshold: config.early_stopping_threshold,
            found: None,
            values: None,
        })
    }

    /// What an evaluation says of the metric.
    ///
    /// # Errors
    /// [`Error::Config`] where it does not measure it.
    pub fn measured(&self, event: &Event) -> Result<f64> {
        let Event::Eval { loss, metrics, .. } = event else { unreachable!("an evaluation") };
        let name = self.metric.strip_prefix("eval_").unwrap_or(&self.metric);
        let metric = metrics.get(name).and_then(|value| value.as_f64());
        let found = if name == "loss" { loss.or(metric) } else { metric };
        found.ok_or_else(|| {
            let known = loss.map(|_| "loss").into_iter().chain(metrics.keys().map(String::as_str));
            Error::Config {
                field: "metric_for_best_model".into(),
                what: format!("{name:?} is not measured of what is held out"),
                help: format!("take one of {}", known.collect::<Vec<_>>().join(", ")),
            }
        })
    }

    /// Takes up an evaluation; says whether it is the best so far.
    pub fn look(&mut self, step: usize, value: f64) -> bool {
        // As transformers has it where nobody says otherwise.
        let lower_is_better = self.metric.ends_with("loss");
        let is_better = |than: f64| if lower_is_better { value < than } else { value > than };
        let Some(found) = &mut self.found else {
            // What is no number is no best, which a later one could not be better than.
            self.found = value.is_finite().then_some(BestEvaluation { step, value, waited: 0 });
            return self.found.is_some();
        };
        let best = value.is_finite() && is_better(found.value);
        found.waited = if best && (value - found.value).abs() > self.threshold { 0 } else { found.waited + 1 };
        if best {
            (found.step, found.value) = (step, value);
        }
        best
    }

    /// Whether the run has waited long enough for a better one.
    pub fn is_over(&self) -> bool {
        self.patience > 0 && self.found.is_some_and(|found| found.waited >= self.patience)
    }

    /// Why it stops.
    pub fn why(&self) -> Event {
        let found = self.found.expect("an evaluation it has waited since");
        let message = format!(
            "stopped early: {} on what is held out was best at step {}, with {:.4}, and no better for {} evaluations; from \
             there on the model learns its examples by heart",
            self.metric, found.step, found.value, found.waited
        );
        Event::Warning { code: "early-stopping", message }
    }

    /// The best evaluation so far.
    pub fn found(&self) -> Option<BestEvaluation> {
        self.found
    }

    /// Goes on where a checkpoint stopped.
    pub(super) fn restore(&mut self, found: Option<BestEvaluation>, values: Option<Vec<Vec<f32>>>) {
        (self.found, self.values) = (found, values);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::config::{Method, Objective};

    /// The steps that were the best, and the step after which the run stops.
    fn run(metric: &str, patience: u32, threshold: f64, values: &[f64]) -> (Vec<usize>, Option<usize>) {
        let mut config = RunConfig::defaults(Method::Lora, Objective::Sft);
        config.metric_for_best_model = metric.into();
        (config.load_best_model_at_end, config.early_stopping_patience) = (true, patience);
        config.early_stopping_threshold = threshold;
        let mut best = Best::new(&config).unwrap();
        let (mut steps, mut stopped) = (Vec::new(), None);
        for (step, &value) in (1..).zip(values) {
            if best.look(step, value) {
                steps.push(step);
            }
            if best.is_over() {
                stopped = Some(step);
                break;
            }
        }
        (steps, stopped)
    }

    #[test]
    fn losses_fall_and_others_rise() {
        assert_eq!(run("loss", 0, 0.0, &[3.0, 2.0, 2.5, 1.0, 1.0]), (vec![1, 2, 4], None));
        assert_eq!(run("eval_loss", 2, 0.0, &[3.0, 2.0, 2.5, 2.0, 1.0]), (vec![1, 2], Some(4)));
        assert_eq!(run("rewards/accuracies", 1, 0.0, &[0.5, 0.7, 0.7]), (vec![1, 2], Some(3)));
        // A gain within the threshold is a new best, and no reason to wait longer.
        assert_eq!(run("loss", 2, 0.5, &[3.0, 2.8, 2.6, 1.0]), (vec![1, 2, 3], Some(3)));
        assert_eq!(run("loss", 2, 0.0, &[f64::NAN, 2.0, f64::NAN, 3.0]), (vec![2], Some(4)));
    }

    #[test]
    fn a_metric_that_is_not_measured_is_told_with_those_that_are() {
        let mut config = RunConfig::defaults(Method::Lora, Objective::Sft);
        config.early_stopping_patience = 1;
        config.metric_for_best_model = "eval_rewards".into();
        let best = Best::new(&config).unwrap();
        let metrics = json!({ "margin": 0.5 }).as_object().cloned().unwrap();
        let event = Event::Eval { step: 0, loss: Some(1.0), tokens: 3, best: false, examples: Vec::new(), metrics };
        let error = best.measured(&event).unwrap_err();
        assert_eq!(error.help(), "take one of loss, margin");
        config.metric_for_best_model = "margin".into();
        assert_eq!(Best::new(&config).unwrap().measured(&event).unwrap(), 0.5);
    }
}
