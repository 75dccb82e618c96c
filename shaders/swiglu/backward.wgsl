// With s = sigmoid(gate): dup = dy gate s; dgate = dy up s (1 + gate (1 - s)).

struct Params {
    count: u32,
    accumulate_gate: u32,
    accumulate_up: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(5) var<storage, read_write> dup: array<f32>;

// One invocation computes one element of both gradients.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let g = gate[i];
    let s = 1.0 / (1.0 + exp(-g));
    let to_gate = dy[i] * up[i] * s * (1.0 + g * (1.0 - s));
    let to_up = dy[i] * g * s;
    if params.accumulate_gate != 0u {
        dgate[i] += to_gate;
    } else {
        dgate[i] = to_gate;
    }
    if params.accumulate_up != 0u {
        dup[i] += to_up;
    } else {
        dup[i] = to_up;
    }
}
