// y (+)= a * b, elementwise.

struct Params {
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let value = a[i] * b[i];
    if params.accumulate != 0u {
        y[i] += value;
    } else {
        y[i] = value;
    }
}
