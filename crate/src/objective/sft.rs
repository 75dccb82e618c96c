//! Supervised fine-tuning: the mean negative log-likelihood of the target tokens.

use crate::data::batch::{Batch, NO_LABEL};

/// The targets of one micro-batch as (row, label, weight). `total` is the number of target tokens of the whole step,
/// so that every token weighs the same however the step is split into micro-batches.
pub fn targets(batch: &Batch, total: usize) -> Vec<(u32, u32, f32)> {
    let weight = 1.0 / total as f32;
    let rows = batch.labels.iter().enumerate();
    rows.filter(|(_, label)| **label != NO_LABEL).map(|(row, &label)| (row as u32, label, weight)).collect()
}
