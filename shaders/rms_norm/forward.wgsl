// y[t, c] = x[t, c] * rstd[t] * gain[c], rstd = 1 / sqrt(mean_c x^2 + eps). x, y: [T, C]; rstd: [T].
#import shared/reduce.wgsl

struct Params {
    channels: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

// One workgroup normalises one row.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = group.x;
    let base = row * params.channels;
    var sum = 0.0;
    for (var c = lane; c < params.channels; c += 64u) {
        sum = fma(x[base + c], x[base + c], sum);
    }
    let total = reduce_sum(lane, sum);
    let scale = 1.0 / sqrt(total / f32(params.channels) + params.eps);
    for (var c = lane; c < params.channels; c += 64u) {
        y[base + c] = x[base + c] * scale * gain[c];
    }
    if lane == 0u {
        rstd[row] = scale;
    }
}
