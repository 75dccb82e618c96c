// y = qkv, with row ids[t] - vocab of the prefix in the last `width` columns, those of k and v, where there is one.
// qkv, y: [T, cols]; prefix: [tokens, width].

struct Params {
    cols: u32,
    width: u32,
    vocab: u32,
    tokens: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> prefix: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    // An id of the vocabulary, and a column of q, wrap round to large numbers.
    let token = ids[i / params.cols] - params.vocab;
    let c = i % params.cols - (params.cols - params.width);
    if token < params.tokens && c < params.width {
        y[i] = prefix[token * params.width + c];
    } else {
        y[i] = qkv[i];
    }
}
