// dx of RMSNorm. With xhat = x rstd and g = dy gain: dx = rstd (g - xhat mean_c(g xhat)).
#import shared/reduce.wgsl

struct Params {
    channels: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

// One workgroup computes one row of dx.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let base = group.x * params.channels;
    let scale = rstd[group.x];
    var sum = 0.0;
    for (var c = lane; c < params.channels; c += 64u) {
        sum = fma(dy[base + c] * gain[c], x[base + c] * scale, sum);
    }
    let mean = reduce_sum(lane, sum) / f32(params.channels);
    for (var c = lane; c < params.channels; c += 64u) {
        let value = scale * (dy[base + c] * gain[c] - x[base + c] * scale * mean);
        if params.accumulate != 0u {
            dx[base + c] += value;
        } else {
            dx[base + c] = value;
        }
    }
}
