//! The trainable tensors of a method, one after another in flat buffers.

use crate::Result;
use crate::gpu::{Buffer, Context};
use crate::model::{Parameter, Weight};

/// One trainable tensor.
pub struct NamedParam {
    /// Its name in the adapter file.
    pub name: String,
    /// Rows and columns, as in the file.
    pub shape: (usize, usize),
    /// For a tensor whose rows are those of q or k: the head dimension. The file holds these rows in the half-split
    /// order of Hugging Face, the device in the interleaved order of GGUF.
    pub rope_dim: Option<usize>,
    /// The tensor on the device.
    pub weight: Weight,
    offset: usize,
}

/// All trainable tensors of a method, with their gradients.
pub struct Parameters {
    context: Context,
    /// The values, flat.
    pub values: Buffer,
    /// The gradients, laid out like the values.
    pub grads: Buffer,
    /// Length of both, in elements, padding included.
    pub len: usize,
    /// The tensors, in file order.
    pub tensors: Vec<NamedParam>,
}

/// What a tensor starts as.
pub struct Spec {
    /// Its name in the adapter file.
    pub name: String,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// See [`NamedParam::rope_dim`].
    pub rope_dim: Option<usize>,
    /// Its values, in device order.
    pub values: Vec<f32>,
    /// Whether it lies right behind the tensor before it, so that the two can be used as one matrix.
    pub joined: bool,
}

/// Bindings start at multiples of 256 bytes.
const ALIGNMENT: usize = 64;

impl Parameters {
    /// Allocates and fills the tensors.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when they are larger than one binding together.
    pub fn new(context: &Context, specs: Vec<Spec>) -> Result<Self> {
        let mut len = 0;
        let mut offsets = Vec::with_capacity(specs.len());
        for spec in &specs {
            if !spec.joined {
                len = usize::next_multiple_of(len, ALIGNMENT);
            }
            offsets.push(len);
            len += spec.values.len();
        }
        let len = len.next_multiple_of(ALIGNMENT);
        let values = context.buffer("trainable parameters", len as u64 * 4)?;
        let grads = context.buffer("gradients", len as u64 * 4)?;
        let mut tensors = Vec::with_capacity(specs.len());
        for (spec, offset) in specs.into_iter().zip(offsets) {
            context.write(&values, offset as u64 * 4, &spec.values);
            let parameter = Parameter { values: values.clone(), grads: grads.clone(), offset };
            let weight = Weight::trained(&spec.name, spec.shape.0, spec.shape.1, parameter);
            tensors.push(NamedParam { name: spec.name, shape: spec.shape, rope_dim: spec.rope_dim, weight, offset });
        }
        context.flush();
        Ok(Self { context: context.clone(), values, grads, len, tensors })
    }

    /// Some tensors that lie right behind each other, of one width, as one matrix.
    pub fn stack(&self, tensors: std::ops::Range<usize>) -> Weight {
        let first = &self.tensors[tensors.start];
        let rows = self.tensors[tensors].iter().map(|tensor| tensor.shape.0).sum();
        let parameter = Parameter { values: self.values.clone(), grads: self.grads.clone(), offset: first.offset };
        Weight::trained(&first.name, rows, first.shape.1, parameter)
    }

    /// Number of trainable parameters.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.shape.0 * tensor.shape.1).sum()
    }

    /// First element and length of each tensor in the flat buffers.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.tensors.iter().map(|tensor| (tensor.offset, tensor.shape.0 * tensor.shape.1))
    }

    /// Every tensor's values in the file's row order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read(&self) -> Result<Vec<Vec<f32>>> {
        self.read_from(&self.values).await
    }

    /// Every tensor's gradient in the file's row order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read_grads(&self) -> Result<Vec<Vec<f32>>> {
        self.read_from(&self.grads).await
    }

    /// Every tensor's part of a buffer that is laid out like the values, in the file's row order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read_from(&self, buffer: &Buffer) -> Result<Vec<Vec<f32>>> {
        let flat: Vec<f32> = self.context.read(buffer, 0, self.len).await?;
        let piece = |(tensor, (offset, len)): (&NamedParam, (usize, usize))| {
            let values = &flat[offset..offset + len];
            match tensor.rope_dim {
                Some(dim) => half_split(values, tensor.shape, dim),
                None => values.to_vec(),
            }
        };
        Ok(self.tensors.iter().zip(self.ranges()).map(piece).collect())
    }

    /// Replaces one tensor's values, given in the file's row order.
    pub fn write(&self, index: usize, values: &[f32]) {
        self.write_to(&self.values, index, values);
    }

    /// Replaces one tensor's part of a buffer that is laid out like the values, given in the file's row order.
    pub fn write_to(&self, buffer: &Buffer, index: usize, values: &[f32]) {
        let tensor = &self.tensors[index];
        let offset = tensor.offset as u64 * 4;
        match tensor.rope_dim {
            Some(dim) => self.context.write(buffer, offset, &interleaved(values, tensor.shape, dim)),
            None => self.context.write(buffer, offset, values),
        }
    }
}

/// The device row of each file row: within a head of dimension D, row `p D/2 + j` of the file (element p of pair j) is
/// row `2 j + p` of the device.
fn device_row(row: usize, dim: usize) -> usize {
    let (head, within) = (row / dim, row % dim);
    head * dim + 2 * (within % (dim / 2)) + within / (dim / 2)
}

/// Rows in device order to file order.
fn half_split(values: &[f32], (rows, cols): (usize, usize), dim: usize) -> Vec<f32> {
    let row = |row| &values[device_row(row, dim) * cols..][..cols];
    (0..rows).flat_map(row).copied().collect()
}

/// Rows in file order to device order.
fn interleaved(values: &[f32], (rows, cols): (usize, usize), dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * cols];
    for row in 0..rows {
        out[device_row(row, dim) * cols..][..cols].copy_from_slice(&values[row * cols..][..cols]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_the_file_and_back() {
        let shape = (8, 3);
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let file = half_split(&values, shape, 4);
        // Device rows 0..4 are pairs (0, 1), (2, 3); the file has first elements, then second elements.
        assert_eq!(file[..12], [0., 1., 2., 6., 7., 8., 3., 4., 5., 9., 10., 11.]);
        assert_eq!(interleaved(&file, shape, 4), values);
    }
}
