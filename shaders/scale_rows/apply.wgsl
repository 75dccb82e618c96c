// y[t] (+)= x[t] g[t], or times g[0] where there is one factor for all rows. x, y: [T, cols]. On the gradient it is the
// backward to x.

struct Params {
    count: u32,
    cols: u32,
    factors: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let value = x[i] * g[min(i / params.cols, params.factors - 1u)];
    if params.accumulate != 0u {
        y[i] += value;
    } else {
        y[i] = value;
    }
}
