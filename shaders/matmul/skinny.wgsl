// out[i, c] (+)= scale * sum_p l[p, i] * z[p, c], for few i: every product with a low-rank matrix but the two that ride
// along in nt.wgsl and nn.wgsl. All three are addressed by strides.
// variant plain: PLAIN LANES=32 N=4
// variant sg8: SG=8 LANES=8 N=4
// variant sg4: SG=4 LANES=4 N=4
//
// One dispatch takes up to four entries, each from one of two pairs (l0, z0) and (l1, z1), so that both gradients of a
// low-rank pair are one dispatch. Entry e is entries[2 e] = (depth, columns, start in l, start in z) and
// entries[2 e + 1] = (start in out, number of i, pair, 0).

struct Params {
    entries: array<vec4<u32>, 8>,
    l0_p: u32,
    l0_i: u32,
    z0_p: u32,
    z0_c: u32,
    out0_i: u32,
    out0_c: u32,
    l1_p: u32,
    l1_i: u32,
    z1_p: u32,
    z1_c: u32,
    out1_i: u32,
    out1_c: u32,
    accumulate: u32,
    scale0: f32,
    scale1: f32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> l0: array<f32>;
@group(0) @binding(2) var<storage, read> z0: array<f32>;
@group(0) @binding(3) var<storage, read> l1: array<f32>;
@group(0) @binding(4) var<storage, read> z1: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

const LANES = $LANESu;
// Numbers i of one workgroup, as four vec4.
const WIDTH = 16u;
#ifdef PLAIN
// Depth goes in blocks of 16; of each the four vec4 of `l`.
const DEPTH = 16u;
var<workgroup> tile: array<vec4<f32>, 64>;
#else
const DEPTH = $SGu;
#endif

// One workgroup computes 16 rows i x (4 LANES) columns of `out`; a lane owns 4 columns, LANES apart.
@compute @workgroup_size($LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let place = params.entries[2u * group.z];
    let shape = params.entries[2u * group.z + 1u];
    let depth = place.x;
    let cols = place.y;
    let count = shape.y;
    let i0 = group.y * WIDTH;
    let col0 = group.x * LANES * $Nu + lane;
    // The grid fits the largest entry; the others have workgroups to spare.
    if i0 >= count || group.x * LANES * $Nu >= cols {
        return;
    }
#for s 2
    if shape.z == $su {
#for j N
        let at$j = place.w + min(col0 + $j * LANES, cols - 1u) * params.z$s_c;
#for k 4
        var c$k_$j = vec4<f32>();
#endfor
#endfor
#for k 4
        let o$k = place.z + min(vec4<u32>(i0 + $k * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u)) * params.l$s_i;
#endfor
        for (var p0 = 0u; p0 < depth; p0 += DEPTH) {
            // Each block is summed by itself: over many tokens one long f32 sum loses digits.
#for j N
#for k 4
            var b$k_$j = vec4<f32>();
#endfor
#endfor
#ifdef PLAIN
            workgroupBarrier();
            for (var i = lane; i < 64u; i += LANES) {
                let p = p0 + i / 4u;
                let start = place.z + min(p, depth - 1u) * params.l$s_p;
                let o = min(vec4<u32>(i0 + i % 4u * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u)) * params.l$s_i + start;
                tile[i] = select(vec4<f32>(), vec4<f32>(l$s[o.x], l$s[o.y], l$s[o.z], l$s[o.w]), p < depth);
            }
            workgroupBarrier();
            for (var q = 0u; q < DEPTH; q++) {
                let p = min(p0 + q, depth - 1u) * params.z$s_p;
#for k 4
                let x$k = tile[q * 4u + $k];
#endfor
#for j N
                {
                    let v = vec4<f32>(z$s[at$j + p]);
#for k 4
                    b$k_$j = fma(x$k, v, b$k_$j);
#endfor
                }
#endfor
            }
#else
            let start = min(p0 + lane, depth - 1u) * params.l$s_p;
#for k 4
            let y$k = select(vec4<f32>(), vec4<f32>(l$s[o$k.x + start], l$s[o$k.y + start], l$s[o$k.z + start], l$s[o$k.w + start]), p0 + lane < depth);
#endfor
#for q SG
            {
                let p = min(p0 + $qu, depth - 1u) * params.z$s_p;
#for k 4
                let x$k = subgroupBroadcast(y$k, $qu);
#endfor
#for j N
                {
                    let v = vec4<f32>(z$s[at$j + p]);
#for k 4
                    b$k_$j = fma(x$k, v, b$k_$j);
#endfor
                }
#endfor
            }
#endfor
#endif
#for j N
#for k 4
            c$k_$j += b$k_$j;
#endfor
#endfor
        }
        // Written from an array in a loop: a store for each register makes for long code.
        var sums: array<vec4<f32>, 4 * $N>;
#for j N
#for k 4
        sums[4 * $j + $k] = c$k_$j;
#endfor
#endfor
        for (var j = 0u; j < $Nu; j++) {
            let col = col0 + j * LANES;
            if col < cols {
                for (var i = 0u; i < min(WIDTH, count - i0); i++) {
                    let at = shape.x + (i0 + i) * params.out$s_i + col * params.out$s_c;
                    var value = params.scale$s * sums[4u * j + i / 4u][i % 4u];
                    if params.accumulate != 0u {
                        value += out[at];
                    }
                    out[at] = value;
                }
            }
        }
    }
#endfor
}
