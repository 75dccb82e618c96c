//! The frozen trunk: the blocks below the first that a method changes. What they make of an example never changes, so it
//! is computed in the first epoch, kept, and reused in later ones, with the same bits as the result.

use crate::data::batch::Batch;

/// The residual stream of each example where the trunk ends.
pub(super) struct Trunk {
    channels: usize,
    /// `[tokens, C]` of each example that is kept.
    kept: Vec<Option<Vec<f32>>>,
    /// Bytes that may still be kept. What does not fit is computed again each time.
    room: u64,
}

impl Trunk {
    /// Nothing kept yet, of `examples` examples, with room for `bytes`.
    pub fn new(examples: usize, channels: usize, bytes: u64) -> Self {
        Self { channels, kept: vec![None; examples], room: bytes }
    }

    /// The stream of a batch `[T, C]`, zeros in its padding; `None` when any of its examples is not kept.
    pub fn hidden(&self, batch: &Batch) -> Option<Vec<f32>> {
        let mut rows = Vec::with_capacity(batch.t * self.channels);
        for &example in &batch.examples {
            rows.extend(self.kept[example].as_ref()?);
        }
        rows.resize(batch.t * self.channels, 0.0);
        Some(rows)
    }

    /// Whether any of the batch's examples is still to be kept, and there is room for it.
    pub fn wants(&self, batch: &Batch) -> bool {
        self.lengths(batch).any(|(example, len)| self.kept[example].is_none() && self.bytes(len) <= self.room)
    }

    /// Keeps the stream of a batch `[T, C]`, as far as there is room.
    pub fn keep(&mut self, batch: &Batch, hidden: &[f32]) {
        let mut start = 0;
        let lengths: Vec<_> = self.lengths(batch).collect();
        for (example, len) in lengths {
            let rows = &hidden[start * self.channels..][..len * self.channels];
            start += len;
            if self.kept[example].is_none() && self.bytes(len) <= self.room {
                self.room -= self.bytes(len);
                self.kept[example] = Some(rows.to_vec());
            }
        }
    }

    /// Each example of a batch, with its rows.
    fn lengths<'b>(&self, batch: &'b Batch) -> impl Iterator<Item = (usize, usize)> + use<'b> {
        let mut start = 0;
        batch.examples.iter().map(move |&example| {
            let end = batch.segment_end[start] as usize;
            let len = end - start;
            start = end;
            (example, len)
        })
    }

    fn bytes(&self, rows: usize) -> u64 {
        (rows * self.channels) as u64 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::{Dataset, Layout};
    use crate::data::render::Rendered;

    fn dataset() -> Dataset {
        let example = |len| Rendered { ids: vec![7; len], targets: vec![true; len], truncated: false };
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 2,
            max_length: 8,
            virtual_tokens: 0,
            vocab_size: 100,
        };
        Dataset::new(vec![example(3), example(2), example(4)], layout)
    }

    fn rows(first: f32, batch: &Batch) -> Vec<f32> {
        (0..batch.t * 2).map(|i| first + i as f32).collect()
    }

    #[test]
    fn examples_come_back_wherever_they_lie() {
        let data = dataset();
        let mut trunk = Trunk::new(3, 2, 1000);
        let batch = data.batch(&[1, 0]);
        assert!(trunk.hidden(&batch).is_none() && trunk.wants(&batch));
        trunk.keep(&batch, &rows(0.0, &batch));
        assert!(!trunk.wants(&batch));
        let other = data.batch(&[0, 1]);
        let hidden = trunk.hidden(&other).unwrap();
        assert_eq!(hidden[..10], [4., 5., 6., 7., 8., 9., 0., 1., 2., 3.]);
        assert_eq!(hidden[10..], [0.0; 22]);
        assert!(trunk.hidden(&data.batch(&[2])).is_none());
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let data = dataset();
        // Room for five rows of two numbers.
        let mut trunk = Trunk::new(3, 2, 40);
        let batch = data.batch(&[2, 0]);
        trunk.keep(&batch, &rows(0.0, &batch));
        assert!(trunk.hidden(&data.batch(&[2])).is_some());
        assert!(trunk.hidden(&data.batch(&[0])).is_none() && !trunk.wants(&data.batch(&[0])));
    }
}
