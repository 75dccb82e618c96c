// sums[i] = sum of squares of piece i, of the pieces from `first` on that lie in this buffer of gradients; pieces:
// (offset, length) in floats.
#import shared/reduce.wgsl

struct Params {
    first: u32,
    pieces: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grads: array<f32>;
@group(0) @binding(2) var<storage, read> pieces: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

// One workgroup sums one piece.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let index = params.first + min(group.x, params.pieces - 1u);
    let piece = pieces[index];
    var sum = 0.0;
    for (var i = lane; i < piece.y; i += 64u) {
        let g = grads[piece.x + i];
        sum = fma(g, g, sum);
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        sums[index] = total;
    }
}
