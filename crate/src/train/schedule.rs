//! Learning-rate schedules, step for step those of the transformers library.

use crate::settings::config::{LrScheduler, RunConfig};

/// The learning rate of every step of a run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    kind: LrScheduler,
    peak: f64,
    warmup: f64,
    steps: f64,
}

impl Schedule {
    /// The schedule of a run of `steps` optimizer steps.
    pub fn new(config: &RunConfig, steps: usize) -> Self {
        let steps = steps as f64;
        let warmup = if config.warmup_steps < 1.0 { (config.warmup_steps * steps).ceil() } else { config.warmup_steps };
        Self { kind: config.lr_scheduler_type, peak: config.learning_rate, warmup, steps }
    }

    /// The rate of step `step`, from 0: the first step of a warm-up has rate 0.
    pub fn rate(&self, step: usize) -> f64 {
        let step = step as f64;
        if step < self.warmup {
            return self.peak * step / self.warmup;
        }
        let left = (self.steps - self.warmup).max(1.0);
        let progress = (step - self.warmup) / left;
        self.peak
            * match self.kind {
                LrScheduler::Constant => 1.0,
                LrScheduler::Linear => (1.0 - progress).max(0.0),
                LrScheduler::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config::Method;

    fn rates(kind: LrScheduler, warmup: f64) -> Vec<f64> {
        let mut config = RunConfig::new(Method::Lora);
        config.learning_rate = 1.0;
        config.lr_scheduler_type = kind;
        config.warmup_steps = warmup;
        let schedule = Schedule::new(&config, 8);
        (0..8).map(|step| schedule.rate(step)).collect()
    }

    #[test]
    fn rises_then_falls() {
        assert_eq!(rates(LrScheduler::Constant, 0.0), [1.0; 8]);
        assert_eq!(rates(LrScheduler::Linear, 4.0), [0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]);
        // A share of the run is rounded up to whole steps.
        assert_eq!(rates(LrScheduler::Linear, 0.45), rates(LrScheduler::Linear, 4.0));
        let cosine = rates(LrScheduler::Cosine, 4.0);
        assert_eq!(cosine[..5], [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert!((cosine[6] - 0.5).abs() < 1e-12, "{cosine:?}");
    }
}
