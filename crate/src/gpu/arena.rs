//! The memory of activations, which all plans of a context share.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::Buffer;
use super::buffer::Memory;
use crate::Result;

/// The slots of the plans that are alive. A plan runs from its first command to its last before another does, and leaves
/// nothing in a slot, so each may use what the others have.
#[derive(Default)]
pub(super) struct Arena(RefCell<Vec<Weak<Memory>>>);

impl Arena {
    /// A buffer for each size, the largest size first: of those that other plans have the smallest that will do, or one
    /// that `make` makes.
    pub fn take(&self, sizes: &[u64], make: impl Fn(u64) -> Result<Buffer>) -> Result<Vec<Buffer>> {
        let mut slots = self.0.borrow_mut();
        let mut free: Vec<Buffer> = slots.iter().filter_map(Weak::upgrade).map(Buffer).collect();
        let mut taken = Vec::with_capacity(sizes.len());
        for &bytes in sizes {
            let fits = (0..free.len()).filter(|&i| free[i].size() >= bytes).min_by_key(|&i| free[i].size());
            taken.push(match fits {
                Some(i) => free.swap_remove(i),
                None => make(bytes)?,
            });
        }
        *slots = taken.iter().chain(&free).map(|buffer| Rc::downgrade(&buffer.0)).collect();
        Ok(taken)
    }
}
