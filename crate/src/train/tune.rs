//! The work of a run that has forms, and their choice before it begins.

use super::pass::Pass;
use crate::Result;
use crate::data::batch::Size;
use crate::gpu::Tunable;
use crate::model::Model;
use crate::ops::{Tried, tune};
use crate::peft::Peft;
use crate::tape::Recompute;

/// Longest that trying the forms of a run's work takes; what is left keeps its default and is tried next time.
pub const TUNE_MS: f64 = 20_000.0;

/// The work of a step over batches of this size whose form was not chosen yet, one of each class.
///
/// # Errors
/// As [`Pass::training`].
pub fn untuned(model: &Model, peft: &dyn Peft, size: Size) -> Result<Vec<Tunable>> {
    let rehearsal = model.rehearsal();
    let targets = model.targets(&rehearsal.context, size.targets)?;
    Pass::training(&rehearsal, peft, size.rows, Recompute::None, targets, false)?;
    let mut known: std::collections::BTreeSet<String> = model.context.forms().into_keys().collect();
    let work = rehearsal.context.tunables().into_iter();
    Ok(work.filter(|work| known.insert(work.class())).collect())
}

/// Tries the forms of that work on a GPU; says whether any were. An adapter that runs on a processor keeps its
/// default: that is the fastest wherever it was measured, and the others take it seconds each to compile.
///
/// # Errors
/// As [`untuned`] and [`tune`].
pub async fn tune_for(
    model: &Model,
    peft: &dyn Peft,
    size: Size,
    tell: impl FnMut(usize, usize, &Tried),
) -> Result<bool> {
    if model.context.info().software {
        return Ok(false);
    }
    let work = untuned(model, peft, size)?;
    tune(&model.context, &work, TUNE_MS, tell).await?;
    Ok(!work.is_empty())
}
