// The global gradient norm and the factor that clips it, as torch.nn.utils.clip_grad_norm_ does:
// factor = min(1, max_norm / (norm + 1e-6)). A norm that is not finite gives factor 0, which AdamW takes as "skip".
// state: (norm, factor). hyper[0]: max_norm, or 0 for no clipping.
#import shared/reduce.wgsl

struct Params {
    pieces: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;

// One workgroup sums everything.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.pieces; i += 64u) {
        sum += sums[i];
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        var factor = 1.0;
        if hyper[0] > 0.0 {
            factor = min(1.0, hyper[0] / (sqrt(total) + 1e-6));
        }
        // WGSL may assume that no value is NaN or infinite, so the test is on the bits.
        if (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u {
            factor = 0.0;
        }
        state[0] = sqrt(total);
        state[1] = factor;
    }
}
