//! How much work one submit holds: as much as takes a tenth of a second, by what the device was seen to do.
//!
//! A GPU's watchdog ends a submit that takes seconds, and a page can neither draw nor pause while one runs. A submit
//! for every few dispatches costs time instead. So plans weigh their dispatches, and are cut by the measured rate.

use std::sync::{Arc, Mutex};

use crate::clock::now_ms;

/// What a submit aims at, in milliseconds.
const AIM: f64 = 100.0;

/// Where nothing was measured yet: floating-point operations that any GPU does within [`AIM`].
const FIRST: f64 = 2e9;

/// Submits that one run of a plan is cut into at most where nothing waits for the device: it is the processor itself, and
/// no browser draws with it meanwhile.
const SOFTWARE_SUBMITS: f64 = 4.0;

/// The device's measured rate.
#[derive(Clone, Default)]
pub(super) struct Pace(Arc<Mutex<Measured>>);

#[derive(Default)]
struct Measured {
    /// Operations a millisecond, over the last runs.
    rate: Option<f64>,
    /// When the last run that was watched had ended.
    last_end: f64,
}

impl Pace {
    /// Operations for one submit of a run of `total`.
    pub fn budget(&self, software: bool, total: f64) -> f64 {
        let measured = self.0.lock().unwrap().rate.map_or(FIRST, |rate| rate * AIM);
        if software && !cfg!(target_arch = "wasm32") { measured.max(total / SOFTWARE_SUBMITS) } else { measured }
    }

    /// Watches a run of `work` operations, all of it submitted since `started`, until it ends.
    pub fn watch(&self, queue: &wgpu::Queue, started: f64, work: f64) {
        let measured = self.0.clone();
        queue.on_submitted_work_done(move || {
            let mut measured = measured.lock().unwrap();
            let end = now_ms();
            // The device begins with a run when it is done with the one before.
            let took = end - started.max(measured.last_end);
            measured.last_end = end;
            if took > 1.0 {
                let rate = work / took;
                measured.rate = Some(measured.rate.map_or(rate, |before| 0.5 * (before + rate)));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submit_holds_a_tenth_of_a_second() {
        let pace = Pace::default();
        assert_eq!(pace.budget(false, 1e12), FIRST);
        pace.0.lock().unwrap().rate = Some(1e7);
        assert_eq!(pace.budget(false, 1e12), 1e9);
        // The processor may take its time: a quarter of the run a submit.
        assert_eq!(pace.budget(true, 4e12), 1e12);
        assert_eq!(pace.budget(true, 6.0), 1e9);
    }
}
