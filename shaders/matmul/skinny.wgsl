// out[i, c] (+)= scale * sum_p l[p, i] * z[p, c], for few i: every product with a low-rank matrix but the two that ride
// along in nt.wgsl and nn.wgsl. All three are addressed by strides.
// variant plain: PLAIN LANES=32 N=4 COLS=128
// variant deep: SLICES V4 DEEP LANES=256 COLS=16 ROUNDS=2 V=2
// variant wide: SLICES V4 WIDE LANES=256 COLS=32 ROUNDS=4 V=4
// variant sg8_deep: SG=8 V4 SG8 DEEP LANES=8 N=8 COLS=64
// variant sg8_wide: SG=8 V4 SG8 WIDE LANES=8 N=8 N4=2 COLS=64
// variant sg4: SG=4 LANES=4 N=4 COLS=16
//
// One dispatch takes up to four entries, each from one of two pairs (l0, z0) and (l1, z1), so that both gradients of a
// low-rank pair are one dispatch. Entry e is entries[2 e] = (depth, columns, start in l, start in z) and
// entries[2 e + 1] = (start in out, number of i, pair, first tile); its tiles go across the columns and then down the
// i. Workgroups visit the tiles of all entries by `stride`.

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
    stride: u32,
}

// With V4 `z` is read in vec4, along the depth (DEEP) or along the columns (WIDE): its numbers are one beside another
// there, and every start, stride and count is a multiple of 4.
#ifdef V4
alias Z = vec4<f32>;
#else
alias Z = f32;
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> l0: array<f32>;
@group(0) @binding(2) var<storage, read> z0: array<Z>;
@group(0) @binding(3) var<storage, read> l1: array<f32>;
@group(0) @binding(4) var<storage, read> z1: array<Z>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

const LANES = $LANESu;
// Columns of one workgroup.
const COLS = $COLSu;
// Numbers i of one workgroup, as four vec4.
const WIDTH = 16u;
#ifdef SLICES
// Depth goes in blocks of 128; of two the four vec4 of `l`. In the end the sums of each slice.
const DEPTH = 128u;
var<workgroup> tile: array<vec4<f32>, 1024>;

// The 32 slices' sums of four vec4 added up, in their order. Lane n of the first 128 gets number n % 4 of the vec4 n /
// 32 of the columns n / 4 % 8.
fn over_slices(lane: u32, x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>) -> f32 {
    workgroupBarrier();
#for k 4
    tile[$k * LANES + lane] = x$k;
#endfor
    workgroupBarrier();
    var sum = 0.0;
    if lane < 128u {
        let first = lane / 32u * LANES + lane / 4u % 8u;
        for (var slice = 0u; slice < 32u; slice++) {
            sum += tile[first + slice * 8u][lane % 4u];
        }
    }
    return sum;
}
#else
#ifdef PLAIN
// Depth goes in blocks of 16; of each the four vec4 of `l`.
const DEPTH = 16u;
var<workgroup> tile: array<vec4<f32>, 64>;
#else
const DEPTH = 4u;
#endif
#endif

// One workgroup computes 16 rows i x COLS columns of `out`; a lane owns N columns, LANES apart, or (WIDE) fours of
// neighbours. With SLICES it owns COLS / 8 columns and a slice of the depth, one of 32.
@compute @workgroup_size($LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    var tile_index = group.x * params.stride % groups.x;
    var entry = 0u;
    for (var e = 1u; e < 4u; e++) {
        if tile_index >= params.entries[2u * e + 1u].w {
            entry = e;
        }
    }
    let place = params.entries[2u * entry];
    let shape = params.entries[2u * entry + 1u];
    tile_index -= shape.w;
    let depth = place.x;
    let cols = place.y;
    let count = shape.y;
    let across = (cols + COLS - 1u) / COLS;
    let i0 = tile_index / across * WIDTH;
    let first_col = tile_index % across * COLS;
#ifdef SLICES
#for s 2
    if shape.z == $su {
#import matmul/skinny_slices.wgsl
    }
#endfor
#else
#ifdef WIDE
    let col0 = first_col + lane * 4u;
#else
    let col0 = first_col + lane;
#endif
#for s 2
    if shape.z == $su {
#ifdef SG8
#import matmul/skinny_subgroup8.wgsl
#else
#for k 4
        let of_l$k = min(vec4<u32>(i0 + $k * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
        let o$k = place.z + of_l$k * params.l$s_i;
#endfor
#import matmul/skinny_scalar.wgsl
#endif
        for (var j = 0u; j < $Nu; j++) {
#ifdef WIDE
            let col = col0 + j / 4u * LANES * 4u + j % 4u;
#else
            let col = col0 + j * LANES;
#endif
            if col < cols {
                for (var i = 0u; i < min(WIDTH, count - i0); i++) {
                    let at = shape.x + (i0 + i) * params.out$s_i + col * params.out$s_c;
#ifdef WIDE
                    var value = params.scale$s * sums[j / 4u * WIDTH + i][j % 4u];
#else
                    var value = params.scale$s * sums[4u * j + i / 4u][i % 4u];
#endif
                    if params.accumulate != 0u {
                        value += out[at];
                    }
                    out[at] = value;
                }
            }
        }
    }
#endfor
#endif
}
