// total[0] += sum_i weights[i] * nll[i], in a fixed order. Rows of weight 0 may hold anything.
#import shared/reduce.wgsl

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> nll: array<f32>;
@group(0) @binding(3) var<storage, read_write> total: array<f32>;

// One workgroup sums everything.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.count; i += 64u) {
        if weights[i] != 0.0 {
            sum += weights[i] * nll[i];
        }
    }
    let all = reduce_sum(lane, sum);
    if lane == 0u {
        total[0] += all;
    }
}
