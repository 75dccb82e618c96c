// With s = sigmoid(gate): dup = dy gate s; dgate = dy up s (1 + gate (1 - s)). x, dx: [T, 2 F], gate before up; dy: [T, F].

struct Params {
    ffn: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// One invocation computes one element of both gradients.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let at = i + i / params.ffn * params.ffn;
    let g = x[at];
    let s = 1.0 / (1.0 + exp(-g));
    let to_gate = dy[i] * x[at + params.ffn] * s * (1.0 + g * (1.0 - s));
    let to_up = dy[i] * g * s;
    if params.accumulate != 0u {
        dx[at] += to_gate;
        dx[at + params.ffn] += to_up;
    } else {
        dx[at] = to_gate;
        dx[at + params.ffn] = to_up;
    }
}
