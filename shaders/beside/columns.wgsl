// to[t, to_first + c] (+)= from[t, from_first + c] for `width` columns c. from: [T, from_cols]; to: [T, to_cols].

struct Params {
    count: u32,
    width: u32,
    from_cols: u32,
    from_first: u32,
    to_cols: u32,
    to_first: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> destination: array<f32>;

// One invocation copies or adds one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let row = i / params.width;
    let c = i % params.width;
    let value = source[row * params.from_cols + params.from_first + c];
    let to = row * params.to_cols + params.to_first + c;
    if params.accumulate != 0u {
        destination[to] += value;
    } else {
        destination[to] = value;
    }
}
