//! How long something takes, on a machine that does other things, too.

use serde::Serialize;

use crate::Result;
use crate::clock::now_ms;
use crate::gpu::{Context, Plan};

/// Milliseconds that something took, of several times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// The median.
    pub ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How often it was done.
    pub runs: usize,
}

impl Timing {
    /// Of measured times, at least one.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let median =
            if times.len().is_multiple_of(2) { times[middle - 1].midpoint(times[middle]) } else { times[middle] };
        Self { ms: median, min_ms: times[0], max_ms: times[times.len() - 1], runs: times.len() }
    }
}

/// A measured time is at least this long: shorter runs go out several at a time.
const SAMPLE_MS: f64 = 10.0;
/// Most runs in one sample.
const BATCH: usize = 256;
/// Samples of each plan are taken for this long,
const ENOUGH_MS: f64 = 300.0;
/// and there are at least so many of them,
const FEWEST: usize = 3;
/// and at most so many.
const MOST: usize = 15;

/// Times runs of a plan, after one that does not count. A run ends when the next may begin: where the device takes
/// work while it works, the wait is shared by the runs of a sample.
pub(super) async fn of_plan(context: &Context, plan: &Plan, open: usize) -> Result<Timing> {
    let sample = async |runs: usize| -> Result<f64> {
        let started = now_ms();
        for _ in 0..runs {
            plan.run(open);
        }
        context.wait().await?;
        Ok((now_ms() - started) / runs as f64)
    };
    context.wait().await?;
    sample(1).await?;
    let runs = (SAMPLE_MS / sample(1).await?.max(1e-3)).ceil().clamp(1.0, BATCH as f64) as usize;
    let mut times = Vec::new();
    let started = now_ms();
    while times.len() < FEWEST || (times.len() < MOST && now_ms() - started < ENOUGH_MS) {
        times.push(sample(runs).await?);
    }
    Ok(Timing::of(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Timing::of(vec![5.0, 1.0, 2.0]), Timing { ms: 2.0, min_ms: 1.0, max_ms: 5.0, runs: 3 });
        assert_eq!(Timing::of(vec![4.0, 1.0, 2.0, 9.0]).ms, 3.0);
    }
}
