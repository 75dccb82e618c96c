// y = x, with b added to the columns first..first + width. x, y: [T, cols]; b: [width].

struct Params {
    count: u32,
    cols: u32,
    first: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    // A column before the first wraps round to a large number.
    let c = i % params.cols - params.first;
    var value = x[i];
    if c < params.width {
        value += b[c];
    }
    y[i] = value;
}
