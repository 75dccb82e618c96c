// Tiles of halves for a GPU's matrix units: 64 rows of `a` by 32 of the depth. Rows stand a little apart, in other
// banks.
const A_STRIDE = 40u;
var<workgroup> half_a: array<f16, 64 * 40>;
// A matrix of 16 x 16 sums of each subgroup, on its way out.
var<workgroup> staged: array<f32, 1024>;

// What is past the largest half becomes it.
fn half(x: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(clamp(x, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}

fn put_a(at: u32, x: vec4<f32>) {
    let h = half(x * params.half_scale);
    half_a[at] = h.x;
    half_a[at + 1u] = h.y;
    half_a[at + 2u] = h.z;
    half_a[at + 3u] = h.w;
}

fn put_b(at: u32, x: vec4<f32>) {
    let h = half(x);
    half_b[at] = h.x;
    half_b[at + 1u] = h.y;
    half_b[at + 2u] = h.z;
    half_b[at + 3u] = h.w;
}
