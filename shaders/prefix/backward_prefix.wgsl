// dprefix[j] (+)= sum over the rows t with ids[t] = vocab + j of the last `width` columns of dy[t]. dy: [T, cols];
// dprefix: [n, width].

struct Params {
    cols: u32,
    width: u32,
    vocab: u32,
    rows: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dprefix: array<f32>;

// One invocation sums one element over the rows in order: no atomics, the same bits every time.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let token = params.vocab + i / params.width;
    let c = params.cols - params.width + i % params.width;
    var sum = 0.0;
    if params.accumulate != 0u {
        sum = dprefix[i];
    }
    for (var row = 0u; row < params.rows; row++) {
        if ids[row] == token {
            sum += dy[row * params.cols + c];
        }
    }
    dprefix[i] = sum;
}
