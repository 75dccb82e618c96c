// Rotary position embedding over interleaved pairs (2i, 2i+1), as GGUF's llama files hold them (Su et al. 2021,
// arXiv:2104.09864). x, y: [T, C], of which the first `turned` pairs of a row are heads that turn and the rest is copied;
// table: [positions, D/2] of (cos, sin). `sign` -1 rotates back: a rotation's transpose is its inverse, so that is also
// the backward.

struct Params {
    pairs: u32,
    row_pairs: u32,
    turned: u32,
    half_dim: u32,
    accumulate: u32,
    sign: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec2<f32>>;

// One invocation rotates one pair.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.pairs {
        return;
    }
    let row = i / params.row_pairs;
    let pair = x[i];
    var value = pair;
    let place = i % params.row_pairs;
    if place < params.turned {
        let turn = table[positions[row] * params.half_dim + place % params.half_dim];
        let s = turn.y * params.sign;
        value = vec2<f32>(pair.x * turn.x - pair.y * s, pair.x * s + pair.y * turn.x);
    }
    if params.accumulate != 0u {
        y[i] += value;
    } else {
        y[i] = value;
    }
}
