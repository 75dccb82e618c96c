//! The blocks of ggml that stand for numbers by codes: how each type has them, and the encoding that takes them losslessly.
//!
//! Every product of a type's scales is exact in f32, for each is an f16 times an integer of at most eight bits. So the numbers
//! are ggml's own, however often a scale is widened on the way.

use half::f16;

use super::encoding::Encoding;
use super::ggml::GgmlType;

/// A block taken apart. Elements stand in the order of the tensor.
pub struct Block {
    /// What an element is: scale * code, or scale * code + min.
    pub codes: [i8; MOST],
    /// One for each group.
    pub scales: [f32; MOST / 16],
    /// One for each group, where the type has mins.
    pub mins: [f32; MOST / 16],
}

/// Most elements of a block.
const MOST: usize = 256;

impl Block {
    /// A place for any block.
    pub fn new() -> Self {
        Self { codes: [0; MOST], scales: [0.0; MOST / 16], mins: [0.0; MOST / 16] }
    }
}

/// A type of codes.
pub struct Coded {
    /// How it lies on the device.
    pub encoding: Encoding,
    /// What is added to a code on the device, where codes have no sign: the code of zero.
    pub zero: i8,
    /// Whether groups have a min.
    pub has_min: bool,
    /// Takes a block apart.
    pub decode: fn(&[u8], &mut Block),
}

/// What there is to know of a type of codes; `None` for plain numbers, and for types that are not read.
pub fn coded(ty: GgmlType) -> Option<Coded> {
    use Encoding::{Q4, Q4G16, Q8, Q8G16, Q8Min};
    let signed = |encoding, zero, decode| Coded { encoding, zero, has_min: false, decode };
    let lifted = |encoding, decode| Coded { encoding, zero: 0, has_min: true, decode };
    Some(match ty {
        GgmlType::Q4_0 => signed(Q4, 8, q4_0),
        GgmlType::Q4_1 => lifted(Q4, q4_1),
        GgmlType::Q5_0 => signed(Q8, 0, q5_0),
        GgmlType::Q5_1 => lifted(Q8Min, q5_1),
        GgmlType::Q8_0 => signed(Q8, 0, q8_0),
        GgmlType::Q2_K => lifted(Q4G16, q2_k),
        GgmlType::Q3_K => signed(Q4G16, 4, q3_k),
        GgmlType::Q4_K => lifted(Q4, q4_k),
        GgmlType::Q5_K => lifted(Q8Min, q5_k),
        GgmlType::Q6_K => signed(Q8G16, 0, q6_k),
        GgmlType::IQ4_NL => signed(Q8, 0, iq4_nl),
        GgmlType::IQ4_XS => signed(Q8, 0, iq4_xs),
        _ => return None,
    })
}

/// The f16 at a place.
pub fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Bits `shift..shift + bits` of a byte.
fn bits(byte: u8, shift: usize, bits: usize) -> u8 {
    byte >> shift & ((1 << bits) - 1)
}

/// 32 codes of four bits, the first 16 in the low halves of 16 bytes.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let halves = |shift| bytes[..16].iter().map(move |byte| bits(*byte, shift, 4));
    halves(0).chain(halves(4))
}

/// Scale, 16 bytes of nibbles; value = scale * (code - 8).
fn q4_0(bytes: &[u8], block: &mut Block) {
    block.scales[0] = half_at(bytes, 0);
    block.codes.iter_mut().zip(nibbles(&bytes[2..])).for_each(|(code, nibble)| *code = nibble as i8 - 8);
}

/// Scale, min, 16 bytes of nibbles.
fn q4_1(bytes: &[u8], block: &mut Block) {
    (block.scales[0], block.mins[0]) = (half_at(bytes, 0), half_at(bytes, 2));
    block.codes.iter_mut().zip(nibbles(&bytes[4..])).for_each(|(code, nibble)| *code = nibble as i8);
}

/// 32 codes of five bits: the highest bits in four bytes, the rest behind them as nibbles.
fn fives(bytes: &[u8]) -> impl Iterator<Item = i8> {
    nibbles(&bytes[4..]).enumerate().map(|(i, nibble)| (nibble | bits(bytes[i / 8], i % 8, 1) << 4) as i8)
}

/// Scale, 32 codes of five bits; value = scale * (code - 16).
fn q5_0(bytes: &[u8], block: &mut Block) {
    block.scales[0] = half_at(bytes, 0);
    block.codes.iter_mut().zip(fives(&bytes[2..])).for_each(|(code, five)| *code = five - 16);
}

/// Scale, min, 32 codes of five bits.
fn q5_1(bytes: &[u8], block: &mut Block) {
    (block.scales[0], block.mins[0]) = (half_at(bytes, 0), half_at(bytes, 2));
    block.codes.iter_mut().zip(fives(&bytes[4..])).for_each(|(code, five)| *code = five);
}

/// Scale, 32 signed bytes.
fn q8_0(bytes: &[u8], block: &mut Block) {
    block.scales[0] = half_at(bytes, 0);
    block.codes.iter_mut().zip(&bytes[2..]).for_each(|(code, byte)| *code = *byte as i8);
}

/// Codes of two bits as Q2_K and Q3_K have them in 64 bytes: each 32 bytes hold 128 codes, one bit pair after the other.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = i8> {
    (0..MOST).map(|i| bits(bytes[i / 128 * 32 + i % 32], i % 128 / 32 * 2, 2) as i8)
}

/// 16 bytes with scale and min of each 16 in their halves, 64 bytes of codes, the scale of scales, that of mins.
fn q2_k(bytes: &[u8], block: &mut Block) {
    let (scale, min) = (half_at(bytes, 80), half_at(bytes, 82));
    for (group, byte) in bytes[..16].iter().enumerate() {
        block.scales[group] = scale * f32::from(bits(*byte, 0, 4));
        block.mins[group] = -(min * f32::from(bits(*byte, 4, 4)));
    }
    block.codes.iter_mut().zip(pairs(&bytes[16..])).for_each(|(code, pair)| *code = pair);
}

/// 32 bytes of high bits, 64 of codes of two bits, twelve of scales of six bits, the scale of scales; value = scale *
/// (code - 4), the high bit counting four.
fn q3_k(bytes: &[u8], block: &mut Block) {
    let scale = half_at(bytes, 108);
    let scales = &bytes[96..108];
    for group in 0..16 {
        // Four bits in the halves of the first eight bytes, two in the last four.
        let low = bits(scales[group % 8], group / 8 * 4, 4);
        let high = bits(scales[8 + group % 4], group / 4 * 2, 2);
        block.scales[group] = scale * (f32::from(low | high << 4) - 32.0);
    }
    for (i, pair) in pairs(&bytes[32..]).enumerate() {
        block.codes[i] = pair + 4 * bits(bytes[i % 32], i / 32, 1) as i8 - 4;
    }
}

/// Scale and min of each 32 of a Q4_K or Q5_K: the scale of scales, that of mins, and twelve bytes with eight scales and
/// eight mins of six bits.
fn sixes(bytes: &[u8], block: &mut Block) {
    let (scale, min, packed) = (half_at(bytes, 0), half_at(bytes, 2), &bytes[4..16]);
    for group in 0..8 {
        let (own, lift) = match group {
            0..4 => (bits(packed[group], 0, 6), bits(packed[group + 4], 0, 6)),
            // Their two highest bits are those of the first four's bytes.
            _ => (
                bits(packed[group + 4], 0, 4) | bits(packed[group - 4], 6, 2) << 4,
                bits(packed[group + 4], 4, 4) | bits(packed[group], 6, 2) << 4,
            ),
        };
        (block.scales[group], block.mins[group]) = (scale * f32::from(own), -(min * f32::from(lift)));
    }
}

/// Codes of four bits as Q4_K and Q5_K have them in 128 bytes: each 32 bytes hold 64 codes, the first 32 in the low halves.
fn half_bytes(bytes: &[u8]) -> impl Iterator<Item = u8> {
    (0..MOST).map(|i| bits(bytes[i / 64 * 32 + i % 32], i % 64 / 32 * 4, 4))
}

/// Scales and mins, 128 bytes of nibbles.
fn q4_k(bytes: &[u8], block: &mut Block) {
    sixes(bytes, block);
    block.codes.iter_mut().zip(half_bytes(&bytes[16..])).for_each(|(code, nibble)| *code = nibble as i8);
}

/// Scales and mins, 32 bytes of high bits, 128 of nibbles.
fn q5_k(bytes: &[u8], block: &mut Block) {
    sixes(bytes, block);
    for (i, nibble) in half_bytes(&bytes[48..]).enumerate() {
        block.codes[i] = (nibble | bits(bytes[16 + i % 32], i / 32, 1) << 4) as i8;
    }
}

/// 128 bytes of low halves, 64 of high bit pairs, 16 signed scales, the scale of scales; value = scale * (code - 32).
fn q6_k(bytes: &[u8], block: &mut Block) {
    let scale = half_at(bytes, 208);
    for (group, byte) in bytes[192..208].iter().enumerate() {
        block.scales[group] = scale * f32::from(*byte as i8);
    }
    for i in 0..MOST {
        // Each 128 elements: 64 bytes hold their low halves, the first 64 in the bytes' own low halves.
        let (part, within) = (i / 128, i % 128);
        let low = bits(bytes[part * 64 + within % 64], within / 64 * 4, 4);
        let high = bits(bytes[128 + part * 32 + within % 32], within / 32 * 2, 2);
        block.codes[i] = (low | high << 4) as i8 - 32;
    }
}

/// What the sixteen codes of IQ4_NL and IQ4_XS stand for.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Scale, 16 bytes of nibbles.
fn iq4_nl(bytes: &[u8], block: &mut Block) {
    block.scales[0] = half_at(bytes, 0);
    block.codes.iter_mut().zip(nibbles(&bytes[2..])).for_each(|(code, nibble)| *code = IQ4[usize::from(nibble)]);
}

/// The scale of scales, two high bits and four low ones of the eight scales of each 32, 128 bytes of nibbles.
fn iq4_xs(bytes: &[u8], block: &mut Block) {
    let scale = half_at(bytes, 0);
    for group in 0..8 {
        let low = bits(bytes[4 + group / 2], group % 2 * 4, 4);
        let high = bits(bytes[2 + group / 4], group % 4 * 2, 2);
        block.scales[group] = scale * (f32::from(low | high << 4) - 32.0);
        let codes = block.codes[32 * group..].iter_mut().zip(nibbles(&bytes[8 + 16 * group..]));
        codes.for_each(|(code, nibble)| *code = IQ4[usize::from(nibble)]);
    }
}
