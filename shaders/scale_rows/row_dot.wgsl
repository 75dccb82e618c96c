// out[t] (+)= sum_c a[t, c] b[t, c]. a, b: [T, cols].
#import shared/reduce.wgsl

struct Params {
    cols: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// One workgroup sums one row.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let base = group.x * params.cols;
    var sum = 0.0;
    for (var c = lane; c < params.cols; c += 64u) {
        sum = fma(a[base + c], b[base + c], sum);
    }
    var total = reduce_sum(lane, sum);
    if lane == 0u {
        if params.accumulate != 0u {
            total += out[group.x];
        }
        out[group.x] = total;
    }
}
