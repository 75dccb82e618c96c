//! Blocks of a GGUF file to the layouts the kernels read, and back to plain numbers.
//!
//! Packing loses nothing: `scale * code + min` on the device gives the numbers that ggml gives (but
//! for the sign of a zero). f16 scales are widened to f32, in which their products with a code are exact.

use half::f16;

use super::blocks::{Block, coded, half_at};
use super::encoding::{Descriptor, Encoding};
use super::ggml::GgmlType;
use super::nf4;
use crate::{Error, Result};

/// Elements in a block of Q4_0, Q4_1 and Q8_0, and in a group of the device layouts.
pub const GROUP: usize = 32;

impl Encoding {
    /// The layout for a ggml type, `None` where it is not supported.
    pub fn of(ty: GgmlType) -> Option<Self> {
        match ty {
            GgmlType::F32 | GgmlType::BF16 => Some(Encoding::F32),
            GgmlType::F16 => Some(Encoding::F16),
            _ => coded(ty).map(|coded| coded.encoding),
        }
    }

    /// Bytes of the codes of `elements` elements.
    pub fn codes_bytes(self, elements: u64) -> u64 {
        elements.div_ceil(self.codes_per_word() as u64) * 4
    }

    /// Bytes of the scales of `elements` elements.
    pub fn scales_bytes(self, elements: u64) -> u64 {
        let Descriptor { group, has_min, .. } = self.descriptor();
        match self {
            Encoding::F32 | Encoding::F16 => 0,
            Encoding::Nf4 => nf4::MAP_BYTES + nf4::records_bytes(elements),
            _ => elements / group as u64 * if has_min { 8 } else { 4 },
        }
    }

    /// A matrix of whole multiples of this many elements may have another one joined behind it.
    pub fn joint(self) -> u64 {
        match self {
            Encoding::F32 | Encoding::F16 => self.codes_per_word() as u64,
            Encoding::Nf4 => nf4::RECORD as u64,
            _ => GROUP as u64,
        }
    }
}

/// A run of elements in a device layout, ready to upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// The layout.
    pub encoding: Encoding,
    /// The codes: see [`Encoding`].
    pub codes: Vec<u32>,
    /// The scales: see [`Encoding`].
    pub scales: Vec<f32>,
}

impl Packed {
    /// The first element that is no number: of a block it is its first, whose scale is none.
    pub fn not_finite(&self) -> Option<usize> {
        let is_none = |value: f32| !value.is_finite();
        match self.encoding {
            Encoding::F32 => self.codes.iter().position(|&code| is_none(f32::from_bits(code))),
            Encoding::F16 => {
                let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
                let mut halves = self.codes.iter().flat_map(|&code| [half(code & 0xffff), half(code >> 16)]);
                halves.position(is_none)
            }
            _ => {
                let Descriptor { group, has_min, .. } = self.encoding.descriptor();
                let place = self.scales.iter().position(|&scale| is_none(scale))?;
                Some(place / if has_min { 2 } else { 1 } * group)
            }
        }
    }
}

/// Packs whole blocks of a GGUF tensor. [`super::gguf::Gguf::encoding`] says beforehand, with the
/// tensor's name, whether its type is supported.
pub fn pack(ty: GgmlType, bytes: &[u8]) -> Result<Packed> {
    let encoding = Encoding::of(ty).ok_or_else(|| unsupported("the model", "(unnamed)", ty.name()))?;
    check_len(ty, bytes.len())?;
    let blocks = bytes.chunks_exact(ty.block_bytes());
    let Some(coded) = coded(ty) else {
        let codes = match ty {
            // The first half of an f32.
            GgmlType::BF16 => blocks.map(|bytes| word(bytes) << 16).collect(),
            _ => bytes.chunks(4).map(word).collect(),
        };
        return Ok(Packed { encoding, codes, scales: Vec::new() });
    };
    let Descriptor { bits, group, has_min, .. } = encoding.descriptor();
    let elements = blocks.len() * ty.block_len();
    let mut codes = Vec::with_capacity(elements / encoding.codes_per_word());
    let mut scales = Vec::with_capacity(encoding.scales_bytes(elements as u64) as usize / 4);
    let mut block = Block::new();
    for bytes in blocks {
        (coded.decode)(bytes, &mut block);
        for at in 0..ty.block_len() / group {
            let scale = block.scales[at];
            scales.push(scale);
            if has_min {
                scales.push(if coded.has_min { block.mins[at] } else { -f32::from(coded.zero) * scale });
            }
        }
        for some in block.codes[..ty.block_len()].chunks_exact(32 / bits) {
            let mask = (1 << bits) - 1;
            let place = |(i, code): (usize, &i8)| ((i32::from(*code + coded.zero) as u32) & mask) << (bits * i);
            codes.push(some.iter().enumerate().map(place).sum());
        }
    }
    Ok(Packed { encoding, codes, scales })
}

/// Writes the numbers that whole blocks stand for to `out`, which has one place for each element.
/// Bit-equal to ggml.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let encoding = Encoding::of(ty).ok_or_else(|| unsupported("the model", "(unnamed)", ty.name()))?;
    check_len(ty, bytes.len())?;
    let elements = bytes.len() / ty.block_bytes() * ty.block_len();
    if elements != out.len() {
        return Err(bad_length(format!("{elements} elements were given for {} places", out.len())));
    }
    let blocks = bytes.chunks_exact(ty.block_bytes()).zip(out.chunks_exact_mut(ty.block_len()));
    let Some(coded) = coded(ty) else {
        let number = |bytes: &[u8]| match ty {
            GgmlType::F32 => f32::from_bits(word(bytes)),
            GgmlType::BF16 => f32::from_bits(word(bytes) << 16),
            _ => half_at(bytes, 0),
        };
        blocks.for_each(|(bytes, out)| out[0] = number(bytes));
        return Ok(());
    };
    let Descriptor { group, .. } = encoding.descriptor();
    let mut block = Block::new();
    for (bytes, out) in blocks {
        (coded.decode)(bytes, &mut block);
        let groups = out.chunks_exact_mut(group).zip(block.codes.chunks_exact(group));
        for (at, (out, codes)) in groups.enumerate() {
            for (out, code) in out.iter_mut().zip(codes) {
                *out = block.scales[at] * f32::from(*code);
                if coded.has_min {
                    *out += block.mins[at];
                }
            }
        }
    }
    Ok(())
}

/// Encodes whole groups of 32 as Q8_0, rounding as ggml's reference does.
pub fn quantize_q8_0(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / GROUP * 34);
    for group in groups(values) {
        let scale = group.iter().fold(0f32, |max, v| max.max(v.abs())) / 127.0;
        let inverse = inverse(scale);
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(group.iter().map(|v| (v * inverse).round() as i8 as u8));
    }
    bytes
}

/// Encodes whole groups of 32 as Q4_0, rounding as ggml's reference does.
pub fn quantize_q4_0(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / GROUP * 18);
    for group in groups(values) {
        // The first of the largest magnitude, with its sign, becomes code 0.
        let largest = group.iter().fold(0f32, |max, v| if v.abs() > max.abs() { *v } else { max });
        let scale = largest / -8.0;
        let inverse = inverse(scale);
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(nibbles(group, |v| v * inverse + 8.5));
    }
    bytes
}

/// Encodes whole groups of 32 as Q4_1, rounding as ggml's reference does.
pub fn quantize_q4_1(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() / GROUP * 20);
    for group in groups(values) {
        let min = group.iter().copied().fold(f32::INFINITY, f32::min);
        let max = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = (max - min) / 15.0;
        let inverse = inverse(scale);
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(f16::from_f32(min).to_le_bytes());
        bytes.extend(nibbles(group, |v| (v - min) * inverse + 0.5));
    }
    bytes
}

/// Encodes each number as an f16, rounding to nearest even.
pub fn quantize_f16(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()
}

fn groups(values: &[f32]) -> std::slice::ChunksExact<'_, f32> {
    assert!(values.len().is_multiple_of(GROUP), "{} numbers are not whole groups of {GROUP}", values.len());
    values.chunks_exact(GROUP)
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The 16 bytes of codes of a 4-bit block, in ggml's order.
fn nibbles<'a>(group: &'a [f32], code: impl Fn(f32) -> f32 + 'a) -> impl Iterator<Item = u8> + 'a {
    let (low, high) = group.split_at(GROUP / 2);
    let code = move |v: &f32| (code(*v) as u8).min(15);
    low.iter().zip(high).map(move |(l, h)| code(l) | code(h) << 4)
}

/// Up to four bytes as a little-endian u32.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// A tensor in an encoding that is not read.
pub fn unsupported(file: &str, tensor: &str, found: &str) -> Error {
    let read = GgmlType::ALL.iter().filter(|ty| Encoding::of(**ty).is_some()).map(|ty| ty.name());
    let supported = read.collect::<Vec<_>>().join(", ");
    Error::Quantization { file: file.into(), tensor: tensor.into(), found: found.into(), supported }
}

fn check_len(ty: GgmlType, len: usize) -> Result<()> {
    if len.is_multiple_of(ty.block_bytes()) {
        return Ok(());
    }
    Err(bad_length(format!("{len} bytes are not whole {ty} blocks of {} bytes", ty.block_bytes())))
}

fn bad_length(what: String) -> Error {
    let help = "the data was cut in the middle of a block; read the tensor in whole blocks";
    Error::Format { file: "tensor data".into(), what, help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel computes from the device layout.
    fn unpack(packed: &Packed, elements: usize) -> Vec<f32> {
        let per_word = packed.encoding.codes_per_word();
        let code = |i: usize| packed.codes[i / per_word] >> (32 / per_word * (i % per_word));
        let value = |i: usize| match packed.encoding {
            Encoding::F32 => f32::from_bits(code(i)),
            Encoding::F16 => f16::from_bits(code(i) as u16).to_f32(),
            encoding => {
                let Descriptor { bits, group, has_min, .. } = encoding.descriptor();
                let group = i / group;
                match (bits, has_min) {
                    (4, true) => packed.scales[2 * group] * (code(i) & 15) as f32 + packed.scales[2 * group + 1],
                    (8, true) => packed.scales[2 * group] * f32::from(code(i) as i8) + packed.scales[2 * group + 1],
                    _ => packed.scales[group] * f32::from(code(i) as i8),
                }
            }
        };
        (0..elements).map(value).collect()
    }

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 2654435761) % 1009) as f32 / 300.0 - 1.5).collect()
    }

    #[test]
    fn packing_loses_nothing() {
        let values = numbers(96);
        let cases = [
            (GgmlType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()),
            (GgmlType::F16, quantize_f16(&values)),
            (GgmlType::Q4_0, quantize_q4_0(&values)),
            (GgmlType::Q4_1, quantize_q4_1(&values)),
            (GgmlType::Q8_0, quantize_q8_0(&values)),
        ];
        for (ty, bytes) in cases {
            let mut plain = vec![0.0; values.len()];
            dequantize(ty, &bytes, &mut plain).unwrap();
            let packed = pack(ty, &bytes).unwrap();
            assert_eq!(unpack(&packed, values.len()), plain, "{ty}");
            assert_eq!(packed.codes.len(), values.len() / packed.encoding.codes_per_word());
            assert_eq!(4 * packed.scales.len() as u64, packed.encoding.scales_bytes(values.len() as u64));
            let worst = plain.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.25, "{ty}: {worst}");
        }
    }

    #[test]
    fn any_block_is_packed_without_loss() {
        for ty in GgmlType::ALL.into_iter().filter(|ty| Encoding::of(*ty).is_some()) {
            let mut packed = 0;
            for seed in 1..100u64 {
                let byte = |i: u64| ((seed * 1000 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8;
                let bytes: Vec<u8> = (0..ty.block_bytes() as u64 * 4).map(byte).collect();
                let mut plain = vec![0.0; 4 * ty.block_len()];
                dequantize(ty, &bytes, &mut plain).unwrap();
                // Scales that are none are told when a model is loaded.
                if plain.iter().all(|value| value.is_finite()) {
                    assert_eq!(unpack(&pack(ty, &bytes).unwrap(), plain.len()), plain, "{ty}");
                    packed += 1;
                }
            }
            assert!(packed > 50, "{ty}: {packed}");
        }
    }

    #[test]
    fn what_is_no_number_is_found() {
        let values: Vec<f32> = (0..96).map(|i| i as f32).collect();
        let nan = |bytes: &mut Vec<u8>, at: usize, half: bool| {
            let bits = if half { f16::NAN.to_le_bytes().to_vec() } else { f32::INFINITY.to_le_bytes().to_vec() };
            bytes[at..at + bits.len()].copy_from_slice(&bits);
        };
        for (ty, mut bytes, at, place) in [
            (GgmlType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(), 4 * 7, 7),
            (GgmlType::F16, quantize_f16(&values), 2 * 51, 51),
            (GgmlType::Q4_0, quantize_q4_0(&values), 18, 32),
            (GgmlType::Q4_1, quantize_q4_1(&values), 2 * 20 + 2, 64),
            (GgmlType::Q8_0, quantize_q8_0(&values), 34, 32),
        ] {
            assert_eq!(pack(ty, &bytes).unwrap().not_finite(), None);
            nan(&mut bytes, at, ty != GgmlType::F32);
            assert_eq!(pack(ty, &bytes).unwrap().not_finite(), Some(place), "{ty}");
        }
    }

    #[test]
    fn an_odd_run_of_halves_fills_the_last_word_with_zero() {
        let packed = pack(GgmlType::F16, &quantize_f16(&[1.0, 2.0, -1.0])).unwrap();
        assert_eq!(packed.codes, [0x4000_3c00, 0xbc00]);
    }

    #[test]
    fn wrong_types_and_lengths_are_errors() {
        let error = pack(GgmlType::IQ1_S, &[]).unwrap_err();
        assert!(error.to_string().contains("IQ1_S"), "{error}");
        assert_eq!(error.code(), "quantization");
        assert_eq!(pack(GgmlType::Q4_0, &[0; 17]).unwrap_err().code(), "format");
        assert_eq!(dequantize(GgmlType::Q8_0, &[0; 34], &mut [0.0; 31]).unwrap_err().code(), "format");
        assert_eq!(dequantize(GgmlType::TQ1_0, &[0; 54], &mut [0.0; 256]).unwrap_err().code(), "quantization");
    }
}
