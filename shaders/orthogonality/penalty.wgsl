// With M = gram - 1: total[0] += weight |M|, and in place of the gram matrix [n, n] stands 2 weight M / |M|.
#import shared/reduce.wgsl

struct Params {
    n: u32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> gram: array<f32>;
@group(0) @binding(2) var<storage, read_write> total: array<f32>;

// One workgroup takes the whole matrix.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let count = params.n * params.n;
    var sum = 0.0;
    for (var i = lane; i < count; i += 64u) {
        var value = gram[i];
        // Every n + 1 elements the diagonal.
        if i % (params.n + 1u) == 0u {
            value -= 1.0;
        }
        gram[i] = value;
        sum = fma(value, value, sum);
    }
    let norm = sqrt(reduce_sum(lane, sum));
    // At zero the norm has no slope; PyTorch takes 0.
    var factor = 0.0;
    if norm > 0.0 {
        factor = 2.0 * params.weight / norm;
    }
    for (var i = lane; i < count; i += 64u) {
        gram[i] *= factor;
    }
    if lane == 0u {
        total[0] += params.weight * norm;
    }
}
