//! Models of a real one's shape whose weights are made up while they are read: a bench that needs no download.
//!
//! The file's header is a true GGUF's. Each block of a tensor is hashed from its tensor's and its own number when
//! somebody reads it, so the file is never anywhere as a whole, and is the same everywhere. Linear layers keep the
//! variance of what goes in and the logits are small: every value stays finite, and the loss is near ln V.

use half::f16;

use super::shape::Shape;
use crate::data::batch::mix;
use crate::format::ggml::GgmlType;
use crate::format::gguf::Gguf;
use crate::format::source::ReadAt;
use crate::{Error, Result};

/// The encodings that linear layers may have, the default first.
pub const ENCODINGS: [(&str, GgmlType); 4] =
    [("q4_1", GgmlType::Q4_1), ("q8_0", GgmlType::Q8_0), ("f16", GgmlType::F16), ("f32", GgmlType::F32)];

/// What one binding may hold on every device.
const BINDING: u64 = 128 << 20;
/// The data of each tensor starts at a multiple of this.
const ALIGNMENT: u64 = 32;

/// A model of this shape with linear layers in `encoding`, one of [`ENCODINGS`]. Norms are F32, and the embedding is
/// Q8_0, or Q4_1 where Q8_0 would be too large for one binding.
///
/// # Errors
/// As [`Gguf::open`].
pub fn gguf(shape: &Shape, encoding: GgmlType) -> Result<Gguf> {
    Gguf::open(Box::new(Synthetic::new(shape, encoding)))
}

/// The file that is not there.
struct Synthetic {
    name: String,
    header: Vec<u8>,
    /// In the file's order.
    tensors: Vec<Tensor>,
    len: u64,
}

struct Tensor {
    start: u64,
    bytes: u64,
    ty: GgmlType,
    /// Of its random numbers; `None` is ones.
    deviation: Option<f32>,
}

impl Synthetic {
    fn new(shape: &Shape, encoding: GgmlType) -> Self {
        let mut file = shape.metadata();
        let mut tensors = Vec::new();
        let mut add = |name: &str, dims: &[u64], ty: GgmlType, deviation| {
            file.declare(name, dims, ty);
            let bytes = ty.byte_len(dims.iter().product()).expect("every shape has whole blocks");
            tensors.push(Tensor { start: 0, bytes, ty, deviation });
        };
        for (index, (name, rows, cols, deviation)) in shape.matrices().into_iter().enumerate() {
            let (rows, cols) = (rows as u64, cols as u64);
            let embedding = if rows * cols > BINDING { GgmlType::Q4_1 } else { GgmlType::Q8_0 };
            add(&name, &[cols, rows], if index == 0 { embedding } else { encoding }, Some(deviation));
        }
        for name in shape.norms() {
            add(&name, &[shape.hidden as u64], GgmlType::F32, None);
        }
        let header = file.header();
        let mut len = header.len() as u64;
        for tensor in &mut tensors {
            tensor.start = len;
            len += tensor.bytes.next_multiple_of(ALIGNMENT);
        }
        Self { name: format!("synthetic-{}.gguf", shape.name), header, tensors, len }
    }
}

impl Tensor {
    /// Makes one block, from the number of its tensor and its own.
    fn block(&self, tensor: u64, block: u64, out: &mut [u8]) {
        let Some(deviation) = self.deviation else { return out.copy_from_slice(&1f32.to_le_bytes()) };
        let mut state = mix(tensor << 40 ^ block);
        let mut codes = |out: &mut [u8]| {
            for eight in out.chunks_exact_mut(8) {
                state = mix(state);
                eight.copy_from_slice(&state.to_le_bytes());
            }
        };
        match self.ty {
            GgmlType::Q4_1 => {
                // Codes are uniform in 0..=15, whose mean is 7.5 and whose deviation sqrt(255 / 12).
                let scale = deviation / 4.61;
                out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                out[2..4].copy_from_slice(&f16::from_f32(-7.5 * scale).to_le_bytes());
                codes(&mut out[4..]);
            }
            GgmlType::Q8_0 => {
                // Uniform in -128..=127: sqrt(65535 / 12).
                out[..2].copy_from_slice(&f16::from_f32(deviation / 73.9).to_le_bytes());
                codes(&mut out[2..]);
            }
            _ => {
                let uniform = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                let value = uniform * 3f32.sqrt() * deviation;
                match self.ty {
                    GgmlType::F16 => out.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
                    GgmlType::F32 => out.copy_from_slice(&value.to_le_bytes()),
                    other => unreachable!("{other} is not among the encodings"),
                }
            }
        }
    }
}

impl ReadAt for Synthetic {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|&end| end <= self.len)
            .ok_or_else(|| Error::io(&self.name, format!("{} bytes at byte {offset} are past the end", buf.len())))?;
        // What lies between tensors is zero.
        buf.fill(0);
        if let Some(header) = self.header.get(offset as usize..) {
            let len = header.len().min(buf.len());
            buf[..len].copy_from_slice(&header[..len]);
        }
        let first = self.tensors.partition_point(|tensor| tensor.start + tensor.bytes <= offset);
        for (number, tensor) in self.tensors.iter().enumerate().skip(first).take_while(|(_, t)| t.start < end) {
            let size = tensor.ty.block_bytes() as u64;
            let from = offset.max(tensor.start);
            let to = end.min(tensor.start + tensor.bytes);
            for block in (from - tensor.start) / size..(to - tensor.start).div_ceil(size) {
                let mut bytes = [0; 34];
                let bytes = &mut bytes[..size as usize];
                tensor.block(number as u64, block, bytes);
                let start = tensor.start + block * size;
                let (from, to) = (from.max(start), to.min(start + size));
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape::{EMBEDDING_DEVIATION, SHAPES};
    use crate::format::quant::dequantize;

    #[test]
    fn bytes_do_not_depend_on_how_they_are_read() {
        let shape = Shape::named("nano").unwrap();
        for (_, encoding) in ENCODINGS {
            let source = Synthetic::new(&shape, encoding);
            let mut whole = vec![0; source.len() as usize];
            source.read_at(0, &mut whole).unwrap();
            let mut pieces = Vec::new();
            for start in (0..whole.len()).step_by(1013) {
                let mut piece = vec![1; 1013.min(whole.len() - start)];
                Synthetic::new(&shape, encoding).read_at(start as u64, &mut piece).unwrap();
                pieces.extend(piece);
            }
            assert!(whole == pieces, "{encoding}");
            assert_eq!(source.read_at(source.len(), &mut [0]).unwrap_err().code(), "io");
        }
    }

    #[test]
    fn numbers_have_the_deviation_that_keeps_variance() {
        for (_, encoding) in ENCODINGS {
            let gguf = gguf(&Shape::named("nano").unwrap(), encoding).unwrap();
            for (name, deviation) in [
                ("token_embd.weight", EMBEDDING_DEVIATION),
                ("blk.1.attn_q.weight", 0.125),
                ("blk.0.ffn_norm.weight", 0.0),
            ] {
                let tensor = gguf.tensor(name).unwrap();
                let mut values = vec![0f32; tensor.elements() as usize];
                gguf.read_tensor_chunks(tensor, 8 << 20, |_, bytes| dequantize(tensor.ty, bytes, &mut values)).unwrap();
                let mean = values.iter().sum::<f32>() / values.len() as f32;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
                assert!((variance.sqrt() - deviation).abs() <= 0.02 * deviation, "{name}: {}", variance.sqrt());
            }
        }
    }

    #[test]
    fn real_shapes_have_files_of_their_size() {
        for shape in &SHAPES {
            let gguf = gguf(shape, GgmlType::Q4_1).unwrap();
            let parameters: u64 = gguf.tensors().iter().map(|tensor| tensor.elements()).sum();
            let expected = match shape.name {
                "smollm2-135m" => 134_515_008,
                "smollm2-360m" => 361_821_120,
                "qwen3-0.6b" => 596_049_920 - 2 * 28 * 128,
                "llama-3.2-1b" => 1_235_814_400,
                _ => continue,
            };
            // Qwen 3 has two norms more in each block, of D numbers.
            assert_eq!(parameters, expected, "{}", shape.name);
        }
    }
}
