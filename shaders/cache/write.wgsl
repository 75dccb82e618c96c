// Copies the keys and values in rows of qkv to their places in the cache. qkv: [T, Q + 2 C]; places: [T]; caches:
// [positions, C].

struct Params {
    queries: u32,
    channels: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> keys: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;

// One invocation copies one element of a key and of a value.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i < params.count {
        let row = i / params.channels;
        let c = i % params.channels;
        let source = row * (params.queries + 2u * params.channels) + params.queries + c;
        let at = places[row] * params.channels + c;
        keys[at] = qkv[source];
        values[at] = qkv[source + params.channels];
    }
}
