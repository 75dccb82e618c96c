// dk and dv of attention for some keys, into the last columns of dqkv: the sums of the `shares` that
// backward_key_value.wgsl left for each key-value head, of each split of the rows. Where k was turned, dk is turned back.
// parts: [splits, keys, 2 K shares D]; dqkv: [T, (H + 2 K) D].

struct Params {
    // All vec4 of dk and dv.
    count: u32,
    heads: u32,
    kv_heads: u32,
    shares: u32,
    // D/4.
    d4: u32,
    accumulate: u32,
    turned: u32,
    first: u32,
    splits: u32,
    // Rows of a split, the first of which begins at the first key.
    split: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dqkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;

#import attention/turn_back.wgsl

// One invocation makes one vec4.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 64u + id.x;
    if index >= params.count {
        return;
    }
    let cols = 2u * params.kv_heads * params.d4;
    let key = index / cols;
    let head = index % cols / params.d4;
    let i = index % params.d4;
    let part_at = index / params.d4 * params.shares * params.d4 + i;
    var value = vec4<f32>();
    // No row sees a key behind it.
    for (var part = key / params.split; part < params.splits; part++) {
        for (var share = 0u; share < params.shares; share++) {
            value += parts[part_at + part * params.count * params.shares + share * params.d4];
        }
    }
    if head < params.kv_heads {
        value = turn_back(value, params.first + key, i, params.d4);
    }
    let at = (params.first + key) * (params.heads * params.d4 + cols) + params.heads * params.d4 + index % cols;
    if params.accumulate != 0u {
        value += dqkv[at];
    }
    dqkv[at] = value;
}
