// y[i] = x[rows[i]]: some rows, side by side. x: [T, C]; y: [N, C]. A row number past T gives zeros.

struct Params {
    channels: u32,
    rows: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation copies one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let row = rows[i / params.channels];
    if row < params.rows {
        y[i] = x[row * params.channels + i % params.channels];
    } else {
        y[i] = 0.0;
    }
}
