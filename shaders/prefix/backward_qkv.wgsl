// dqkv (+)= dy, but nothing where the forward put the prefix. dy, dqkv: [T, cols].

struct Params {
    cols: u32,
    width: u32,
    vocab: u32,
    tokens: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dqkv: array<f32>;

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
    let value = select(dy[i], 0.0, token < params.tokens && c < params.width);
    if params.accumulate != 0u {
        dqkv[i] += value;
    } else {
        dqkv[i] = value;
    }
}
