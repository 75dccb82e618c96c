//! What an objective measures beside its loss, under TRL's names.

use serde_json::{Map, Value};

use super::sequence::Sequence;

/// How a metric comes of what it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Mean { sum: f64, count: usize },
    Least(f64),
    Most(f64),
}

/// Named metrics over the groups of a step, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(Vec<(&'static str, Measure)>);

impl Metrics {
    fn measure(&mut self, name: &'static str, none: Measure) -> &mut Measure {
        let index = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, none));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// Tells one value of a mean.
    pub fn mean(&mut self, name: &'static str, value: f64) {
        self.mean_of(name, value, 1);
    }

    /// Tells the sum of several values of a mean.
    pub fn mean_of(&mut self, name: &'static str, sum: f64, count: usize) {
        if let Measure::Mean { sum: all, count: number } = self.measure(name, Measure::Mean { sum: 0.0, count: 0 }) {
            *all += sum;
            *number += count;
        }
    }

    /// Tells a value of which the least counts.
    pub fn least(&mut self, name: &'static str, value: f64) {
        if let Measure::Least(least) = self.measure(name, Measure::Least(f64::INFINITY)) {
            *least = least.min(value);
        }
    }

    /// Tells a value of which the highest counts.
    pub fn most(&mut self, name: &'static str, value: f64) {
        if let Measure::Most(most) = self.measure(name, Measure::Most(f64::NEG_INFINITY)) {
            *most = most.max(value);
        }
    }

    /// A metric as it stands.
    pub fn get(&self, name: &str) -> Option<f64> {
        let (_, measure) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(match *measure {
            Measure::Mean { sum, count } => sum / count as f64,
            Measure::Least(value) | Measure::Most(value) => value,
        })
    }

    /// All of them, as an event has them.
    pub fn to_json(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, _)| ((*name).to_owned(), self.get(name).into())).collect()
    }

    /// What a pair of answers is worth, as the loss sees it.
    pub(super) fn rewards(&mut self, chosen: f64, rejected: f64) {
        self.mean("rewards/chosen", chosen);
        self.mean("rewards/rejected", rejected);
        self.mean("rewards/accuracies", f64::from(chosen > rejected));
        self.mean("rewards/margins", chosen - rejected);
    }

    /// The log-probability of an answer, as the loss takes it, and the mean of its logits.
    pub(super) fn answer(&mut self, chosen: bool, answer: &Sequence, log_prob: f64) {
        let (logps, logits) = match chosen {
            true => ("logps/chosen", "logits/chosen"),
            false => ("logps/rejected", "logits/rejected"),
        };
        self.mean(logps, log_prob);
        let sum = answer.answer().map(|token| f64::from(token.mean_logit)).sum();
        self.mean_of(logits, sum, answer.len());
    }

    /// The entropy of the tokens of an answer.
    pub(super) fn entropy(&mut self, answer: &Sequence) {
        let sum = answer.answer().map(|token| f64::from(token.entropy)).sum();
        self.mean_of("entropy", sum, answer.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_extremes() {
        let mut metrics = Metrics::default();
        metrics.mean("b", 1.0);
        metrics.mean_of("b", 5.0, 3);
        for value in [2.0, -1.0, 0.5] {
            metrics.least("least", value);
            metrics.most("most", value);
        }
        assert_eq!(metrics.get("none"), None);
        assert_eq!(serde_json::to_string(&metrics.to_json()).unwrap(), r#"{"b":1.5,"least":-1.0,"most":2.0}"#);
    }
}
