// y[t] (+)= x[t] - mean_c x[t, c]. x, y: [T, C].
#import shared/reduce.wgsl

struct Params {
    rows: u32,
    channels: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// One workgroup computes one row.
@compute @workgroup_size(64)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let base = row * params.channels;
    var sum = 0.0;
    for (var c = lane; c < params.channels; c += 64u) {
        sum += x[base + c];
    }
    let mean = reduce_sum(lane, sum) / f32(params.channels);
    for (var c = lane; c < params.channels; c += 64u) {
        var value = x[base + c] - mean;
        if params.accumulate != 0u {
            value += y[base + c];
        }
        y[base + c] = value;
    }
}
