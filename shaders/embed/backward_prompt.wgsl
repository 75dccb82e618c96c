// dprompt[j] (+)= sum over the rows t that hold virtual token j of dy[t]. dy: [T, C]; dprompt: [n, C].

struct Params {
    channels: u32,
    vocab: u32,
    rows: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dprompt: array<f32>;

// One invocation sums one element over the rows in order: no atomics, the same bits every time.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let token = params.vocab + i / params.channels;
    let c = i % params.channels;
    var sum = 0.0;
    if params.accumulate != 0u {
        sum = dprompt[i];
    }
    for (var row = 0u; row < params.rows; row++) {
        if ids[row] == token {
            sum += dy[row * params.channels + c];
        }
    }
    dprompt[i] = sum;
}
