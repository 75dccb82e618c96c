//! NF4 with double quantization, as QLoRA has it (Dettmers et al. 2023, arXiv:2305.14314): bit for bit what bitsandbytes
//! makes of the same numbers.
//!
//! Each run of 64 values is divided by its largest magnitude and rounded to the nearest of sixteen codes. The magnitudes,
//! less their mean, are quantized in turn: in runs of 256, to the 8 bits of the dynamic map.

use crate::{Error, Result};

/// Values that share a scale.
pub const BLOCK: usize = 64;

/// Scales that share a scale of their own.
const NESTED: usize = 256;

/// Values that one record of the device layout is for. Where matrices are joined, all but the last are whole records.
pub const RECORD: usize = 4096;

/// Words of a record: the scale of the scales and their mean, as f32, and a byte for each of its blocks.
const RECORD_WORDS: usize = 2 + RECORD / BLOCK / 4;

/// The sixteen codes: quantiles of the normal distribution, with an exact zero.
pub const CODES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Largest magnitude that is taken: kernels rely on it.
const LARGEST: f32 = 1e30;

/// The 8-bit dynamic map, in order: in each of seven decades twice as many numbers as in the one below, of either sign,
/// and 0 and 1.
pub fn dynamic_map() -> [f32; 256] {
    let mut map = vec![0.0, 1.0];
    for decade in 0..7 {
        let parts = 1 << decade;
        let step = (1.0 - 0.1f32) / parts as f32;
        // Counted from the nearer end, rounded once.
        let bound = |i: usize| match 2 * i < parts {
            true => step.mul_add(i as f32, 0.1),
            false => (-step).mul_add((parts - i) as f32, 1.0),
        };
        let power = 10f64.powi(decade - 6) as f32;
        for i in 0..parts {
            let value = (bound(i) + bound(i + 1)) / 2.0 * power;
            map.extend([value, -value]);
        }
    }
    map.sort_by(f32::total_cmp);
    map.try_into().expect("254 numbers, 0 and 1")
}

/// The index of the nearest of some numbers in order; half way between two it is the lower.
fn nearest(numbers: &[f32], value: f32) -> u8 {
    let below = |i: usize| (numbers[i] + numbers[i + 1]) / 2.0 < value;
    // As many as there are midpoints below the value.
    let (mut low, mut high) = (0, numbers.len() - 1);
    while low < high {
        let middle = (low + high) / 2;
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low as u8
}

/// What divides a run of so many values into [-1, 1], of `full` when it is whole: the reciprocal is taken for whole runs
/// only.
fn divided(values: &[f32], full: usize) -> (f32, impl Iterator<Item = f32>) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let divisor = largest.max(1e-38);
    let reciprocal = (values.len() == full).then(|| 1.0 / divisor);
    let of = move |&value: &f32| reciprocal.map_or(value / divisor, |reciprocal| value * reciprocal).clamp(-1.0, 1.0);
    (if values.len() == full { largest } else { divisor }, values.iter().map(of))
}

/// The scales of a tensor's blocks, quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// An index into [`dynamic_map`] for each block of [`BLOCK`] values.
    pub codes: Vec<u8>,
    /// One for each 256 of those: what an index's number is multiplied by.
    pub absmax: Vec<f32>,
    /// Added to the product.
    pub offset: f32,
}

impl Scales {
    /// Quantizes the largest magnitude of each block.
    fn new(largest: &[f32]) -> Self {
        // The sum is exact where it can be: in f32 it would depend on the order.
        let sum: f64 = largest.iter().copied().map(f64::from).sum();
        let offset = sum as f32 / largest.len().max(1) as f32;
        let map = dynamic_map();
        let rest: Vec<f32> = largest.iter().map(|largest| largest - offset).collect();
        let (mut codes, mut absmax) = (Vec::with_capacity(rest.len()), Vec::new());
        for run in rest.chunks(NESTED) {
            let (largest, values) = divided(run, NESTED);
            absmax.push(largest);
            codes.extend(values.map(|value| nearest(&map, value)));
        }
        Self { codes, absmax, offset }
    }

    /// What a block's codes are multiplied by.
    pub fn scale(&self, block: usize, map: &[f32; 256]) -> f32 {
        map[usize::from(self.codes[block])] * self.absmax[block / NESTED] + self.offset
    }

    /// The scales of a whole weight in the device layout: the map, and the records.
    pub fn words(&self) -> Vec<u32> {
        dynamic_map().into_iter().map(f32::to_bits).chain(self.records()).collect()
    }

    /// The records of the device layout.
    pub fn records(&self) -> Vec<u32> {
        let blocks = RECORD / BLOCK;
        let mut words = Vec::with_capacity(self.codes.len().div_ceil(blocks) * RECORD_WORDS);
        for (record, codes) in self.codes.chunks(blocks).enumerate() {
            words.extend([self.absmax[record * blocks / NESTED], self.offset].map(f32::to_bits));
            let mut bytes = [0; RECORD / BLOCK];
            bytes[..codes.len()].copy_from_slice(codes);
            words.extend(bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])));
        }
        words
    }
}

/// Bytes of [`dynamic_map`] on the device, before the records.
pub const MAP_BYTES: u64 = 256 * 4;

/// Bytes of the records of so many values.
pub fn records_bytes(elements: u64) -> u64 {
    elements.div_ceil(RECORD as u64) * RECORD_WORDS as u64 * 4
}

/// Quantizes a tensor that comes in pieces.
#[derive(Debug, Default)]
pub struct Quantizer {
    /// Values of a block that is not whole yet.
    rest: Vec<f32>,
    largest: Vec<f32>,
}

impl Quantizer {
    /// Takes more values, and gives the codes of the blocks that are whole: eight in a word, the first lowest.
    ///
    /// # Errors
    /// [`Error::Format`] for a value that is not finite, or beyond 1e30, with its place in the tensor; `file` and `tensor`
    /// say whose it is.
    pub fn push(&mut self, file: &str, tensor: &str, values: &[f32]) -> Result<Vec<u32>> {
        if let Some(at) = values.iter().position(|value| value.is_nan() || value.abs() > LARGEST) {
            return Err(Error::Format {
                file: file.into(),
                what: format!(
                    "{tensor}: value {} is {}, and 4 bits hold finite numbers of at most {LARGEST:e}",
                    self.largest.len() * BLOCK + self.rest.len() + at,
                    values[at]
                ),
                help:
                    "the file is damaged, or the model broke in training: use another, or load it without load_in_4bit"
                        .into(),
            });
        }
        self.rest.extend(values);
        let whole = self.rest.len() / BLOCK * BLOCK;
        let blocks: Vec<f32> = self.rest.drain(..whole).collect();
        Ok(self.quantize(&blocks))
    }

    /// The codes of what is left, and the scales of all.
    pub fn finish(mut self) -> (Vec<u32>, Scales) {
        let rest = std::mem::take(&mut self.rest);
        let codes = self.quantize(&rest);
        (codes, Scales::new(&self.largest))
    }

    fn quantize(&mut self, values: &[f32]) -> Vec<u32> {
        let mut words = Vec::with_capacity(values.len().div_ceil(8));
        for block in values.chunks(BLOCK) {
            let (largest, values) = divided(block, BLOCK);
            self.largest.push(largest);
            let codes: Vec<u8> = values.map(|value| nearest(&CODES, value)).collect();
            let word = |eight: &[u8]| eight.iter().rev().fold(0, |word, code| word << 4 | u32::from(*code));
            words.extend(codes.chunks(8).map(word));
        }
        words
    }
}

/// A whole tensor in NF4: codes, eight in a word, and scales.
///
/// # Errors
/// As [`Quantizer::push`].
pub fn quantize(file: &str, tensor: &str, values: &[f32]) -> Result<(Vec<u32>, Scales)> {
    let mut quantizer = Quantizer::default();
    let mut codes = quantizer.push(file, tensor, values)?;
    let (rest, scales) = quantizer.finish();
    codes.extend(rest);
    Ok((codes, scales))
}

/// The numbers that a tensor in NF4 stands for.
pub fn dequantize(codes: &[u32], scales: &Scales, out: &mut [f32]) {
    let map = dynamic_map();
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let scale = scales.scale(block, &map);
        for (i, out) in out.iter_mut().enumerate() {
            let at = block * BLOCK + i;
            *out = CODES[(codes[at / 8] >> (4 * (at % 8)) & 15) as usize] * scale;
        }
    }
}
