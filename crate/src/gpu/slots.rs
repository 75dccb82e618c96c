//! What one plan needs of the arena at a time: buffers that are not needed together share a slot.

use std::collections::BTreeMap;

use super::recorder::{Command, Recorder, Storage, Work};

/// First and last command that touches each planned buffer.
fn lifetimes(recorder: &Recorder) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; recorder.buffers.len()];
    for (index, command) in recorder.commands.iter().enumerate() {
        for_each_buffer(command, |buffer| {
            let life = lives[buffer].get_or_insert((index, index));
            life.1 = index;
        });
    }
    lives
}

fn for_each_buffer(command: &Command, mut visit: impl FnMut(usize)) {
    match &command.work {
        Work::Dispatch { bindings, .. } => bindings.iter().for_each(|binding| visit(binding.buffer.0 as usize)),
        Work::Clear(buffer) => visit(buffer.0 as usize),
    }
}

/// Chooses an arena slot for each planned buffer; returns the choice and the slots' sizes. Two buffers share a slot
/// only when no command lies in both lifetimes, so one dispatch never sees a slot twice.
///
/// The largest buffers choose first, each the smallest slot that is free all its life: a small buffer never makes a
/// large slot necessary (Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size").
pub(super) fn assign_slots(recorder: &Recorder) -> (Vec<Option<usize>>, Vec<u64>) {
    let lives = lifetimes(recorder);
    let size = |buffer: usize| match recorder.buffers[buffer] {
        Storage::Planned { bytes } => bytes,
        Storage::Fixed(_) => 0,
    };
    let mut order: Vec<usize> =
        (0..lives.len()).filter(|&buffer| size(buffer) > 0 && lives[buffer].is_some()).collect();
    order.sort_by_key(|&buffer| (std::cmp::Reverse(size(buffer)), lives[buffer]));
    let mut sizes: Vec<u64> = Vec::new();
    // The lives in each slot, by their first command.
    let mut taken: Vec<BTreeMap<usize, usize>> = Vec::new();
    let mut choice = vec![None; lives.len()];
    for buffer in order {
        let Some((first, last)) = lives[buffer] else { continue };
        let is_free = |lives: &BTreeMap<usize, usize>| {
            lives.range(..=last).next_back().is_none_or(|(_, &before_ends)| before_ends < first)
        };
        // Slots were made in order of size, the largest first.
        let slot = (0..sizes.len()).rev().find(|&slot| is_free(&taken[slot])).unwrap_or_else(|| {
            sizes.push(size(buffer));
            taken.push(BTreeMap::new());
            sizes.len() - 1
        });
        taken[slot].insert(first, last);
        choice[buffer] = Some(slot);
    }
    (choice, sizes)
}
