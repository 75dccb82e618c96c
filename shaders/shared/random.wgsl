// Counter-based random numbers: the PCG output permutation over a chained counter (Jarzynski and Olano 2020, "Hash
// Functions for GPU Rendering"). The same (seed, step, site, index) gives the same number on every device.
fn pcg(value: u32) -> u32 {
    let state = value * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// Uniform in [0, 1), from the top 24 bits.
fn uniform_random(seed: u32, step: u32, site: u32, index: u32) -> f32 {
    return f32(pcg(index ^ pcg(site ^ pcg(step ^ pcg(seed)))) >> 8u) / 16777216.0;
}
