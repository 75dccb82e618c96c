//! The counter-based hash that stands in for large committed tensors, word for word that of `hashing.py`.

/// How many random ±1 vectors a large tensor is projected on.
pub const PROJECTIONS: usize = 16;
/// The amplitude of the hash-made `lora_B` where it is not zero.
pub const LORA_B: f32 = 0.01;
/// The amplitude of the hash-made prompt embeddings.
pub const PROMPT: f32 = 0.235;
/// The number of virtual tokens of every prompt fixture.
pub const VIRTUAL_TOKENS: usize = 20;

/// FNV-1a, 64 bits, over the UTF-8 bytes of a name.
pub fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The SplitMix64 output function (the golden-ratio step is added first).
pub fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn counters(name: &str, n: usize) -> impl Iterator<Item = u64> {
    let seed = fnv1a64(name);
    (0..n as u64).map(move |i| splitmix64(seed.wrapping_add(i)))
}

/// `n` values in [-amplitude, amplitude), the tensor of that name in row-major order.
pub fn uniform(name: &str, n: usize, amplitude: f32) -> Vec<f32> {
    let unit = |h: u64| ((h >> 40) as i32 - (1 << 23)) as f32 * (-23f32).exp2();
    counters(name, n).map(|h| unit(h) * amplitude).collect()
}

/// `n` token ids in 0..vocab.
pub fn hashed_ids(name: &str, n: usize, vocab: u64) -> Vec<u32> {
    counters(name, n).map(|h| (h % vocab) as u32).collect()
}

/// The hash-made start of a LoRA parameter of PEFT's layout and name: `lora_A` (r, in) with amplitude 1/√in,
/// `lora_B` (out, r) with amplitude `b` (0 is PEFT's own start).
pub fn lora_init(name: &str, shape: [usize; 2], b: f32) -> Vec<f32> {
    let amplitude = if name.contains(".lora_A.") { (1.0 / (shape[1] as f64).sqrt()) as f32 } else { b };
    uniform(name, shape[0] * shape[1], amplitude)
}

/// The hash-made prompt embeddings, ([`VIRTUAL_TOKENS`], channels).
pub fn prompt_init(channels: usize) -> Vec<f32> {
    uniform("prompt_embeddings", VIRTUAL_TOKENS * channels, PROMPT)
}

/// The products of a flattened tensor with the [`PROJECTIONS`] ±1 vectors, summed in f64.
pub fn project(values: &[f32]) -> [f64; PROJECTIONS] {
    std::array::from_fn(|k| {
        let sign = |i: usize| if splitmix64((k as u64) << 32 | i as u64) >> 63 == 1 { -1.0 } else { 1.0 };
        values.iter().enumerate().map(|(i, &v)| sign(i) * f64::from(v)).sum()
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Samples {
        fnv1a64: Vec<Named>,
        splitmix64: Vec<Mixed>,
        uniform: Vec<Uniform>,
        ids: Ids,
        projections_of_ramp_1000: Vec<f32>,
    }

    #[derive(Deserialize)]
    struct Named {
        name: String,
        hex: String,
    }

    #[derive(Deserialize)]
    struct Mixed {
        x: String,
        hex: String,
    }

    #[derive(Deserialize)]
    struct Uniform {
        name: String,
        amplitude: f32,
        values: Vec<f32>,
    }

    #[derive(Deserialize)]
    struct Ids {
        name: String,
        vocab: u64,
        values: Vec<u32>,
    }

    fn hex(text: &str) -> u64 {
        u64::from_str_radix(text, 16).expect("a fixture's hex number")
    }

    #[test]
    fn the_hash_is_that_of_the_generator() {
        let samples: Samples = crate::golden::json("hash.json");
        for s in &samples.fnv1a64 {
            assert_eq!(fnv1a64(&s.name), hex(&s.hex), "{:?}", s.name);
        }
        for s in &samples.splitmix64 {
            assert_eq!(splitmix64(hex(&s.x)), hex(&s.hex), "{}", s.x);
        }
        for s in &samples.uniform {
            assert_eq!(uniform(&s.name, s.values.len(), s.amplitude), s.values, "{:?}", s.name);
        }
        assert_eq!(hashed_ids(&samples.ids.name, samples.ids.values.len(), samples.ids.vocab), samples.ids.values);
    }

    #[test]
    fn projections_are_those_of_the_generator() {
        let samples: Samples = crate::golden::json("hash.json");
        let ramp: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0 - 0.5).collect();
        assert_eq!(project(&ramp).map(|p| p as f32).to_vec(), samples.projections_of_ramp_1000);
    }
}
