// stats[t, h].y = sum_d dout[t, h, d] * out[t, h, d]: what the softmax's backward subtracts from every score's gradient.

struct Params {
    head_dim: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> out: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;

// One invocation sums one head of one row.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    var sum = 0.0;
    for (var d = 0u; d < params.head_dim; d++) {
        sum = fma(dout[i * params.head_dim + d], out[i * params.head_dim + d], sum);
    }
    stats[i].y = sum;
}
