// What AdaLoRA knows of each parameter's importance after a step (Zhang et al. 2023, arXiv:2303.10512, equations 9 and
// 10), over flat parameters: s = b1 s + (1 - b1) |p g|, u = b2 u + (1 - b2) ||p g| - s|, with the clipped gradient.
// state: (norm, factor) of the step; a factor of 0 marks one that was skipped.

struct Params {
    count: u32,
    beta1: f32,
    beta2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> grads: array<f32>;
@group(0) @binding(4) var<storage, read_write> sensitivity: array<f32>;
@group(0) @binding(5) var<storage, read_write> uncertainty: array<f32>;

// One invocation takes one parameter.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count || state[1] == 0.0 {
        return;
    }
    let now = abs(values[i] * grads[i] * state[1]);
    let mean = params.beta1 * sensitivity[i] + (1.0 - params.beta1) * now;
    sensitivity[i] = mean;
    uncertainty[i] = params.beta2 * uncertainty[i] + (1.0 - params.beta2) * abs(now - mean);
}
