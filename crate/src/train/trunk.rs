//! The frozen trunk: the blocks below the first that a method changes. What they make of an example never changes, so it
//! is computed in the first epoch, kept, and reused in later ones, with the same bits as the result.

use crate::Result;
use crate::data::batch::Batch;

/// Where the trunk goes on when its memory is full: a file of its own, written from its start to its end.
pub trait Spill {
    /// Writes bytes from byte `at` on.
    ///
    /// # Errors
    /// When there is no more room, or the file failed.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()>;

    /// Reads bytes that were written from byte `at` on.
    ///
    /// # Errors
    /// When the file failed.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<()>;
}

/// What is kept of an example.
#[derive(Clone)]
enum Kept {
    /// Nothing: it is computed again each time.
    Nothing,
    /// `[tokens, C]`.
    Memory(Vec<f32>),
    /// As many numbers in the file, from this byte on.
    Spilled { at: u64, count: usize },
}

/// The residual stream of each example where the trunk ends.
pub(super) struct Trunk {
    channels: usize,
    kept: Vec<Kept>,
    /// Bytes of memory that are left.
    room: u64,
    spill: Option<Box<dyn Spill>>,
    /// The end of what was spilled.
    spilled: u64,
    /// The file took no more.
    full: bool,
}

impl Trunk {
    /// Nothing kept yet, of `examples` examples, with room for `bytes` in memory.
    pub fn new(examples: usize, channels: usize, bytes: u64) -> Self {
        Self { channels, kept: vec![Kept::Nothing; examples], room: bytes, spill: None, spilled: 0, full: false }
    }

    /// Goes on in a file when the memory is full.
    pub fn spill_to(&mut self, spill: Box<dyn Spill>) {
        self.spill = Some(spill);
    }

    /// The stream of a batch `[T, C]`, zeros in its padding; `None` when any of its examples is not kept.
    ///
    /// # Errors
    /// As [`Spill::read`].
    pub fn hidden(&mut self, batch: &Batch) -> Result<Option<Vec<f32>>> {
        if batch.examples.iter().any(|&example| matches!(self.kept[example], Kept::Nothing)) {
            return Ok(None);
        }
        let mut rows = Vec::with_capacity(batch.t * self.channels);
        for &example in &batch.examples {
            match (&self.kept[example], &mut self.spill) {
                (Kept::Memory(values), _) => rows.extend(values),
                (&Kept::Spilled { at, count }, Some(spill)) => {
                    let start = rows.len();
                    rows.resize(start + count, 0.0);
                    spill.read(at, bytemuck::cast_slice_mut(&mut rows[start..]))?;
                }
                _ => unreachable!("only what has a place is kept"),
            }
        }
        rows.resize(batch.t * self.channels, 0.0);
        Ok(Some(rows))
    }

    /// Whether any of the batch's examples is still to be kept, and there is room for it.
    pub fn wants(&self, batch: &Batch) -> bool {
        let missing = |example: usize| matches!(self.kept[example], Kept::Nothing);
        self.lengths(batch)
            .any(|(example, len)| missing(example) && (self.fits(len) || self.spill.is_some() && !self.full))
    }

    /// Keeps the stream of a batch `[T, C]`, as far as there is room.
    ///
    /// # Errors
    /// As [`Spill::write`]; nothing more is spilled from then on.
    pub fn keep(&mut self, batch: &Batch, hidden: &[f32]) -> Result<()> {
        let mut start = 0;
        for (example, len) in self.lengths(batch).collect::<Vec<_>>() {
            let rows = &hidden[start * self.channels..][..len * self.channels];
            start += len;
            if !matches!(self.kept[example], Kept::Nothing) {
                continue;
            }
            if self.fits(len) {
                self.room -= self.bytes(len);
                self.kept[example] = Kept::Memory(rows.to_vec());
            } else if let Some(spill) = &mut self.spill
                && !self.full
            {
                if let Err(error) = spill.write(self.spilled, bytemuck::cast_slice(rows)) {
                    self.full = true;
                    return Err(error);
                }
                self.kept[example] = Kept::Spilled { at: self.spilled, count: rows.len() };
                self.spilled += self.bytes(len);
            }
        }
        Ok(())
    }

    fn fits(&self, rows: usize) -> bool {
        self.bytes(rows) <= self.room
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
        let example = |len| Rendered { ids: vec![7; len], targets: vec![true; len], ..Rendered::default() };
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
        assert!(trunk.hidden(&batch).unwrap().is_none() && trunk.wants(&batch));
        trunk.keep(&batch, &rows(0.0, &batch)).unwrap();
        assert!(!trunk.wants(&batch));
        let other = data.batch(&[0, 1]);
        let hidden = trunk.hidden(&other).unwrap().unwrap();
        assert_eq!(hidden[..10], [4., 5., 6., 7., 8., 9., 0., 1., 2., 3.]);
        assert_eq!(hidden[10..], [0.0; 22]);
        assert!(trunk.hidden(&data.batch(&[2])).unwrap().is_none());
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let data = dataset();
        // Room for five rows of two numbers.
        let mut trunk = Trunk::new(3, 2, 40);
        let batch = data.batch(&[2, 0]);
        trunk.keep(&batch, &rows(0.0, &batch)).unwrap();
        assert!(trunk.hidden(&data.batch(&[2])).unwrap().is_some());
        assert!(trunk.hidden(&data.batch(&[0])).unwrap().is_none() && !trunk.wants(&data.batch(&[0])));
    }

    /// A file with an end.
    struct Small(Vec<u8>, usize);

    impl Spill for Small {
        fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
            if at as usize + bytes.len() > self.1 {
                return Err(crate::Error::io("spill", "no space left"));
            }
            self.0.resize(at as usize, 0);
            self.0.extend(bytes);
            Ok(())
        }

        fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<()> {
            bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_spilled_until_the_file_is_full() {
        let data = dataset();
        let mut trunk = Trunk::new(3, 2, 16);
        // Two rows fit in memory, seven in the file: none of example 1, examples 0 and 2.
        trunk.spill_to(Box::new(Small(Vec::new(), 56)));
        for example in [1, 0, 2] {
            let batch = data.batch(&[example]);
            assert!(trunk.wants(&batch));
            trunk.keep(&batch, &rows(10.0 * example as f32, &batch)).unwrap();
        }
        let hidden = trunk.hidden(&data.batch(&[2, 1])).unwrap().unwrap();
        assert_eq!(hidden[..12], [20., 21., 22., 23., 24., 25., 26., 27., 10., 11., 12., 13.]);
        let mut trunk = Trunk::new(3, 2, 0);
        trunk.spill_to(Box::new(Small(Vec::new(), 40)));
        let batch = data.batch(&[0, 2]);
        assert!(trunk.keep(&batch, &rows(0.0, &batch)).is_err());
        assert!(!trunk.wants(&batch) && trunk.hidden(&batch).unwrap().is_none(), "it is not tried again");
        assert_eq!(trunk.hidden(&data.batch(&[0])).unwrap().unwrap()[..6], [0., 1., 2., 3., 4., 5.]);
    }
}
