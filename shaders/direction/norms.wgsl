// norms[o] = |w[first + o] + scale sum_r b[o, r] a[r]|. w: [_, k] in any encoding; a: [r, k]; b: [rows, r].
// every encoding
#import shared/reduce.wgsl

struct Params {
    rows: u32,
    first: u32,
    depth: u32,
    a_at: u32,
    b_at: u32,
    rank: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
#ifdef CODED
@group(0) @binding(4) var<storage, read> scales: array<Stored>;
@group(0) @binding(5) var<storage, read_write> norms: array<f32>;
#else
@group(0) @binding(4) var<storage, read_write> norms: array<f32>;
#endif
#import shared/weight.wgsl

// One workgroup takes four rows, so that what it reads of `a` serves all of them.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let start = group.x * 4u;
#for i 4
    // A row past the end is the last one again, and is not written.
    let row$i = min(start + $iu, params.rows - 1u);
    var sum$i = 0.0;
#endfor
    for (var c = lane; c < params.depth; c += 64u) {
        var low = vec4<f32>();
        for (var r = 0u; r < params.rank; r++) {
            let pair = vec4<f32>(
                b[params.b_at + row0 * params.rank + r], b[params.b_at + row1 * params.rank + r],
                b[params.b_at + row2 * params.rank + r], b[params.b_at + row3 * params.rank + r]);
            low = fma(vec4<f32>(a[params.a_at + r * params.depth + c]), pair, low);
        }
#for i 4
        let v$i = fma(params.scale, low[$i], weight((params.first + row$i) * params.depth + c));
        sum$i = fma(v$i, v$i, sum$i);
#endfor
    }
#for i 4
    let total$i = reduce_sum(lane, sum$i);
    if lane == 0u && start + $iu < params.rows {
        norms[row$i] = sqrt(total$i);
    }
#endfor
}
