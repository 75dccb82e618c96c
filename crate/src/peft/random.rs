//! The random numbers that parameters start as.

/// Uniform random numbers in [-1, 1) that depend on the seed, the tensor's name and the index alone.
pub(super) fn random(seed: u32, name: &str) -> impl Iterator<Item = f32> + use<> {
    // FNV-1a of the name picks the stream, SplitMix64 walks it.
    let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ u64::from(seed), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (1_u64..).map(move |i| {
        let mut x = stream.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        ((x >> 40) as i64 - (1 << 23)) as f32 / (1 << 23) as f32
    })
}
