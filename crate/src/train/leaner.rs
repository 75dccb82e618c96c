//! What a run does that the device has no memory for.

use super::event::Event;
use super::trainer::Trainer;
use crate::error::GpuFailure;
use crate::settings::config::{Recompute, RunConfig};
use crate::{Error, Result};

/// Settings that come to the same numbers, up to the order of sums, with less memory, and what they do in words; none where there
/// is nothing left to save. `used` is how the run that did not fit was to compute again; a run that goes on keeps its batches.
fn leaner(config: &RunConfig, used: Recompute, goes_on: bool) -> Option<(RunConfig, &'static str)> {
    let mut leaner = config.clone();
    if let Some(recompute) = used.leaner() {
        leaner.recompute = recompute;
        return Some((leaner, "more of it is computed twice now, which takes longer and changes no number"));
    }
    // Answers are written, and a pair compared, by whole batches.
    let size = config.per_device_train_batch_size;
    if goes_on || size < 2 || !size.is_multiple_of(2) || config.objective.group() > 1 {
        return None;
    }
    leaner.per_device_train_batch_size = size / 2;
    leaner.gradient_accumulation_steps *= 2;
    leaner.validate().ok()?;
    Some((leaner, "its batches are half as long now, and twice as many make a step"))
}

/// A run that the device has memory for: where there is none for it as it is set, leaner ways are tried, one after the other, and a
/// warning for each says so. `make` tries kernels, too, for what is recorded here has those that were chosen. `goes_on`: whether it was begun before, and is put at its place by `make`.
///
/// # Errors
/// What `make` fails with; [`Error::Gpu`] where not even the leanest fits.
pub async fn fitting(
    config: &RunConfig,
    goes_on: bool,
    mut make: impl AsyncFnMut(&RunConfig) -> Result<Trainer>,
) -> Result<(Trainer, Vec<Event>)> {
    let (mut config, mut events) = (config.clone(), Vec::new());
    loop {
        let mut trainer = make(&config).await?;
        let error = match trainer.allocate().await {
            Ok(()) => return Ok((trainer, events)),
            Err(error) => error,
        };
        let is_memory = matches!(error, Error::Gpu { failure: GpuFailure::OutOfMemory, .. });
        let Some((next, what)) = leaner(&config, trainer.config().recompute, goes_on).filter(|_| is_memory) else {
            return Err(error);
        };
        let context = trainer.model().context.clone();
        // What it took is given back before the next is tried.
        drop(trainer);
        context.forgive_out_of_memory();
        context.wait().await?;
        let message = format!("the GPU has no memory for this run as it was planned: {what}");
        events.push(Event::Warning { code: "leaner", message });
        config = next;
    }
}
