// dx[rows[i]] += dy[i], the transpose of forward.wgsl. Row numbers are distinct; those past T are skipped.

struct Params {
    channels: u32,
    rows: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// One invocation adds one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let row = rows[i / params.channels];
    if row < params.rows {
        dx[row * params.channels + i % params.channels] += dy[i];
    }
}
