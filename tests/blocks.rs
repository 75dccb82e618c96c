//! Blocks of every type that a file may have.

use half::f16;
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::quant::{quantize_f16, quantize_q4_0, quantize_q4_1, quantize_q8_0};

use crate::golden::hash::splitmix64;

/// The types whose blocks are codes, one for each encoding that a file may have, and every one that the project writes.
pub const CODED: [GgmlType; 6] =
    [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0, GgmlType::Q3_K, GgmlType::Q6_K, GgmlType::Q5_1];

/// Blocks of numbers: those given, where the project writes the type, and else as many of any codes, about as large.
pub fn blocks(ty: GgmlType, values: &[f32]) -> Vec<u8> {
    match ty {
        GgmlType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        GgmlType::F16 => quantize_f16(values),
        GgmlType::Q4_0 => quantize_q4_0(values),
        GgmlType::Q4_1 => quantize_q4_1(values),
        GgmlType::Q8_0 => quantize_q8_0(values),
        _ => noise(ty, values.len()),
    }
}

/// Any codes, with scales by which the numbers stay within one or two.
fn noise(ty: GgmlType, count: usize) -> Vec<u8> {
    // Where a block's f16 scales stand, and what they are.
    let scales: &[(usize, f32)] = match ty {
        GgmlType::Q5_0 => &[(0, 0.03)],
        GgmlType::Q5_1 => &[(0, 0.03), (2, -0.5)],
        GgmlType::IQ4_NL => &[(0, 0.004)],
        GgmlType::Q2_K => &[(80, 0.02), (82, 0.03)],
        GgmlType::Q3_K => &[(108, 0.004)],
        GgmlType::Q4_K => &[(0, 5e-4), (2, 8e-3)],
        GgmlType::Q5_K => &[(0, 2.5e-4), (2, 8e-3)],
        GgmlType::Q6_K => &[(208, 1.2e-4)],
        _ => panic!("{ty} has no blocks of codes"),
    };
    let mut bytes: Vec<u8> =
        (0..count / ty.block_len() * ty.block_bytes()).map(|i| splitmix64(i as u64) as u8).collect();
    for (i, block) in bytes.chunks_exact_mut(ty.block_bytes()).enumerate() {
        for &(at, scale) in scales {
            let factor = 0.5 + (splitmix64(i as u64) % 64) as f32 / 64.0;
            block[at..at + 2].copy_from_slice(&f16::from_f32(scale * factor).to_le_bytes());
        }
    }
    bytes
}
