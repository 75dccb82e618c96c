// Rotary position embedding over interleaved pairs (2i, 2i+1), as GGUF's llama files hold them (Su et al. 2021,
// arXiv:2104.09864). x, y: [T, C], of which the first `turned` columns are heads that turn and the rest is copied;
// table: [positions, D/2] of (cos, sin). `sign` -1 rotates back: a rotation's transpose is its inverse, so that is also
// the backward.
// variant plain:
// variant v4: V4

// Counts are of Numbers: a pair, or two (V4).
struct Params {
    count: u32,
    row: u32,
    turned: u32,
    turns: u32,
    accumulate: u32,
    sign: f32,
}

#ifdef V4
alias Numbers = vec4<f32>;
#import shared/rotate.wgsl
#else
alias Numbers = vec2<f32>;
fn rotate(x: Numbers, turn: Numbers, sign: f32) -> Numbers {
    return x * turn.xx + vec2<f32>(-x.y, x.x) * (turn.yy * sign);
}
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Numbers>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<Numbers>;
@group(0) @binding(4) var<storage, read_write> y: array<Numbers>;

// One invocation rotates one pair, or two.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    var value = x[i];
    let place = i % params.row;
    if place < params.turned {
        let turn = table[positions[i / params.row] * params.turns + place % params.turns];
        value = rotate(value, turn, params.sign);
    }
    if params.accumulate != 0u {
        value += y[i];
    }
    y[i] = value;
}
