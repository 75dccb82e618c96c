// The gradients of SwiGLU, or of GeGLU. x, dx: [T, 2 F], gate before up; dy: [T, F].
// variant plain:
// variant v4: V4
// variant gelu_plain: GELU
// variant gelu_v4: GELU V4
#import shared/fours.wgsl
#ifdef GELU
#import shared/gelu.wgsl

// dup = dy gelu(gate) and dgate = dy up gelu'(gate).
fn gated_backward(gate: Numbers, up: Numbers, dy: Numbers) -> GateUp {
    let s = gelu_share(gate);
    return GateUp(dy * up * gelu_slope(gate, s), dy * gate * s);
}

struct GateUp {
    gate: Numbers,
    up: Numbers,
}
#else
#import shared/swiglu.wgsl

fn gated_backward(gate: Numbers, up: Numbers, dy: Numbers) -> GateUp {
    return swiglu_backward(gate, up, dy);
}
#endif

struct Params {
    // F and the elements of dy, in Numbers.
    ffn: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Numbers>;
@group(0) @binding(2) var<storage, read> dy: array<Numbers>;
@group(0) @binding(3) var<storage, read_write> dx: array<Numbers>;

// One invocation computes one element of both gradients, or four.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let at = i + i / params.ffn * params.ffn;
    var gradients = gated_backward(x[at], x[at + params.ffn], dy[i]);
    if params.accumulate != 0u {
        gradients.gate += dx[at];
        gradients.up += dx[at + params.ffn];
    }
    dx[at] = gradients.gate;
    dx[at + params.ffn] = gradients.up;
}
