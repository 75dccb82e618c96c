//! The choice of what a run computes again, where its config leaves it open.

use super::measure;
use super::pass::Pass;
use crate::Result;
use crate::data::batch::Size;
use crate::model::Model;
use crate::objective::Needs;
use crate::peft::Peft;
use crate::settings::config::RunConfig;
use crate::tape::Recompute;

/// The fastest way to recompute with which a pass over batches of this size, split or not, fits what is there already and the
/// run's `memory_limit`; the leanest if none does.
///
/// # Errors
/// As [`Pass::training`].
pub(super) fn choose_recompute(
    model: &Model,
    peft: &dyn Peft,
    size: Size,
    split: bool,
    needs: Option<Needs>,
    config: &RunConfig,
) -> Result<Recompute> {
    let there = model.gpu_bytes() + 4 * peft.params().bytes();
    for recompute in Recompute::FASTEST_FIRST {
        let rehearsal = model.rehearsal();
        let targets = match needs {
            Some(needs) => measure::targets(&rehearsal, size.targets, needs)?,
            None => model.targets(&rehearsal.context, size.targets)?,
        };
        let _pass = Pass::training(&rehearsal, peft, size.rows, recompute, targets, split)?;
        if there + rehearsal.context.bytes().peak <= config.memory_bytes() {
            return Ok(recompute);
        }
    }
    Ok(Recompute::Block)
}
