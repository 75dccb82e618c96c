//! Tensors that are read from the device one after the other: one read brings many small ones, or a piece of a large one.

use std::ops::Range;

use super::Parameters;
use crate::Result;
use crate::gpu::Buffer;

/// Values that one read brings, where a tensor is not wanted whole.
pub(super) const WINDOW: usize = 2 << 20;

/// What the last read brought: the values that come next are mostly among them.
pub(super) struct Window<'a> {
    params: &'a Parameters,
    values: Vec<f32>,
    /// The buffers that the values are of, the number of the one, and the place of the first in it.
    place: Option<(&'a [Buffer], usize, usize)>,
}

impl<'a> Window<'a> {
    pub fn new(params: &'a Parameters) -> Self {
        Self { params, values: Vec::new(), place: None }
    }

    /// Values of a tensor, by its number, from buffers that are laid out like the parameters; in the file's order, where they are
    /// all its values or its order is the device's.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read(&mut self, buffers: &'a [Buffer], index: usize, range: Range<usize>) -> Result<Vec<f32>> {
        let tensor = &self.params.tensors[index];
        let (first, count) = (tensor.offset + range.start, range.len());
        if count == 0 {
            return Ok(Vec::new());
        }
        let end = first + count;
        let is_there = |&(of, buffer, start): &(&[Buffer], usize, usize)| {
            std::ptr::eq(of, buffers)
                && buffer == tensor.buffer
                && (start..=start + self.values.len()).contains(&first)
                && end <= start + self.values.len()
        };
        let start = match self.place.filter(is_there) {
            Some((_, _, start)) => start,
            None => {
                let buffer = &buffers[tensor.buffer];
                let rest = (buffer.size() / 4) as usize - first;
                self.values = self.params.context.read(buffer, first as u64 * 4, rest.min(count.max(WINDOW))).await?;
                self.place = Some((buffers, tensor.buffer, first));
                first
            }
        };
        let values = &self.values[first - start..][..count];
        Ok(tensor.order.as_ref().map_or_else(|| values.to_vec(), |order| order.turn(values, false)))
    }
}
