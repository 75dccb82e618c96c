//! The random numbers that weights start as.

/// Uniform random numbers in [-1, 1) that depend on the seed, the tensor's name and the index alone.
pub(crate) fn random(seed: u32, name: &str) -> impl Iterator<Item = f32> + use<> {
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

/// Numbers of the standard normal distribution (Box and Muller 1958), which depend on the seed, the tensor's name and the
/// index alone.
pub(crate) fn normal(seed: u32, name: &str) -> impl Iterator<Item = f64> + use<> {
    let [radii, angles] = ["radius", "angle"].map(|what| random(seed, &format!("{name}.{what}")).map(f64::from));
    radii.zip(angles).map(|(radius, angle)| {
        // From [-1, 1) to (0, 1].
        let radius = (1.0 - radius) / 2.0;
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::PI * angle).cos()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_are_normal() {
        let values: Vec<f64> = normal(7, "weight").take(100_000).collect();
        let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
        for (power, want) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            assert!((moment(power) - want).abs() < 0.05, "moment {power}: {}", moment(power));
        }
        let beyond = values.iter().filter(|x| x.abs() > 2.0).count() as f64 / values.len() as f64;
        assert!((beyond - 0.0455).abs() < 0.003, "{beyond} beyond two deviations");
        assert_eq!(values[..9], normal(7, "weight").take(9).collect::<Vec<_>>());
        assert_ne!(values[..9], normal(8, "weight").take(9).collect::<Vec<_>>());
    }
}
