//! The products of a run, and the choice of their forms before it begins.

use super::config::Recompute;
use super::pass::Pass;
use crate::Result;
use crate::data::batch::Size;
use crate::gpu::Product;
use crate::model::Model;
use crate::ops::{Targets, Tried, tune};
use crate::peft::Peft;

/// Longest that trying the forms of a run's products takes; what is left keeps its default and is tried next time.
pub const TUNE_MS: f64 = 20_000.0;

/// The products of a step over batches of this size whose form was not chosen yet, one of each class.
///
/// # Errors
/// As [`Pass::training`].
pub fn untuned(model: &Model, peft: &dyn Peft, size: Size) -> Result<Vec<Product>> {
    let rehearsal = model.rehearsal();
    let targets = Targets::new(&rehearsal.context, size.targets, model.config.vocab)?;
    Pass::training(&rehearsal, peft, size.rows, Recompute::None, targets, false)?;
    let mut known: std::collections::BTreeSet<String> = model.context.forms().into_keys().collect();
    let products = rehearsal.context.products().into_iter();
    Ok(products.filter(|product| known.insert(product.class())).collect())
}

/// Tries the forms of those products on a GPU; says whether any were. An adapter that runs on a processor keeps its
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
    let products = untuned(model, peft, size)?;
    tune(&model.context, &products, TUNE_MS, tell).await?;
    Ok(!products.is_empty())
}
