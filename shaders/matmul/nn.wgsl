// out[i, k] (+)= scale * sum_p a[i, p] * b[p, k] [+ sum_r low[i, r] * low_a[r, k]]: `b` is row-major [depth, cols], in
// any encoding.
// variant q4: Q4 PLAIN R=8 L=24
// variant q4_tile: Q4 TILE R=8 L=8
// variant q4_sg8: Q4 SCALED SG=8 SG8 R=16 G=2 L=8
// variant q4_sg8_v4: Q4 SCALED SG=8 SG8 V4 R=16 G=2 L=8
// variant q4_sg4: Q4 SCALED SG=4 SG4 R=16 L=4
// variant nf4: NF4 PLAIN R=8 L=24
// variant nf4_tile: NF4 TILE R=8 L=8
// variant nf4_sg8: NF4 SCALED SG=8 SG8 R=16 G=2 L=8
// variant nf4_sg8_v4: NF4 SCALED SG=8 SG8 V4 R=16 G=2 L=8
// variant nf4_sg4: NF4 SCALED SG=4 SG4 R=16 L=4
// variant q8: Q8 PLAIN R=8 L=24
// variant q8_tile: Q8 TILE R=8 L=8
// variant q8_sg8: Q8 SCALED SG=8 SG8 R=16 G=2 L=8
// variant q8_sg8_v4: Q8 SCALED SG=8 SG8 V4 R=16 G=2 L=8
// variant q8_sg4: Q8 SCALED SG=4 SG4 R=16 L=4
// variant f16: F16 PLAIN R=8 L=24
// variant f16_tile: F16 TILE R=8 L=8
// variant f16_sg8: F16 SG=8 SG8 R=16 G=2 L=8
// variant f16_sg8_v4: F16 SG=8 SG8 V4 R=16 G=2 L=8
// variant f16_sg4: F16 SG=4 SG4 R=16 L=4
// variant f32: F32 PLAIN R=8 L=24
// variant f32_tile: F32 TILE R=8 L=8
// variant f32_sg8: F32 SG=8 SG8 R=16 G=2 L=8
// variant f32_sg8_v4: F32 SG=8 SG8 V4 R=16 G=2 L=8
// variant f32_sg4: F32 SG=4 SG4 R=16 L=4
//
// The same packed weights as nt.wgsl read in the other direction: the input gradient of a linear layer, and with f32
// `b` every weight gradient. `a` and `out` are addressed by strides. As in nt.wgsl a workgroup shares its rows of `a`
// through workgroup memory or by subgroup broadcasts, and TILE the decoded `b` as well.

struct Params {
    rows: u32,
    cols: u32,
    depth: u32,
    a_at: u32,
    a_row: u32,
    a_depth: u32,
    out_row: u32,
    out_col: u32,
    accumulate: u32,
    scale: f32,
    rank: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#ifdef V4
// There the numbers of a row lie one beside another, and every start, stride and count is a multiple of 4, the
// columns of 8.
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> low: array<f32>;
#ifdef V4
@group(0) @binding(3) var<storage, read> low_a: array<vec4<f32>>;
#else
@group(0) @binding(3) var<storage, read> low_a: array<f32>;
#endif
#ifdef Q4
@group(0) @binding(4) var<storage, read> codes: array<u32>;
@group(0) @binding(5) var<storage, read> scales: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
const BLOCK = 32u;
fn scale_of(at: u32) -> vec2<f32> {
    return scales[at / BLOCK];
}
#endif
#ifdef NF4
@group(0) @binding(4) var<storage, read> codes: array<u32>;
@group(0) @binding(5) var<storage, read> scales: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#import shared/nf4.wgsl
const BLOCK = 64u;
fn scale_of(at: u32) -> f32 {
    return nf4_scale(at);
}
#endif
#ifdef Q8
@group(0) @binding(4) var<storage, read> codes: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read> scales: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
const BLOCK = 32u;
fn scale_of(at: u32) -> f32 {
    return scales[at / BLOCK];
}
#endif
#ifdef F16
#ifdef V4
@group(0) @binding(4) var<storage, read> codes: array<vec4<u32>>;
#else
@group(0) @binding(4) var<storage, read> codes: array<u32>;
#endif
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
#endif
#ifdef F32
#ifdef V4
@group(0) @binding(4) var<storage, read> codes: array<vec4<f32>>;
#else
@group(0) @binding(4) var<storage, read> codes: array<f32>;
#endif
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
#endif

// Lanes of 8 neighbouring columns; 24 of them make tiles of 192, which divide the usual layer sizes without waste.
const LANES = $Lu;
// Depth goes in blocks of this many.
#ifdef SG
const DEPTH = 4u;
#endif
#ifdef PLAIN
const DEPTH = 16u;
// R rows x 16 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 4>;
#endif
#ifdef TILE
const DEPTH = 32u;
// 32 by 64 rows of `a`, as vec4 along the rows, and 32 by 64 columns of `b`: the 16 KiB that every device has.
var<workgroup> tile: array<vec4<f32>, 512>;
var<workgroup> tile_b: array<vec4<f32>, 512>;
#endif
// A long f32 sum stops seeing its small terms. The loss head sums over the vocabulary, where the many unlikely tokens
// pull together: sums of at most this many terms are added up instead, a multiple of DEPTH.
const SPAN = 1024u;

#ifdef SG
#else
fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[params.a_at + row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}
#endif

// One workgroup computes R rows (TILE: 64) x (8 LANES) columns of `out`; a lane owns 8 neighbouring columns of R rows.
#ifdef TILE
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = index % LANES;
    let row0 = group.y * 64u + index / LANES * $Ru;
#else
@compute @workgroup_size($L)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * $Ru;
#endif
    let col = (group.x * LANES + lane) * 8u;
    // A lane past the end works on the last eight columns again and writes nothing.
    let k = min(col, max(params.cols, 8u) - 8u);
#ifdef SG8
#ifdef SCALED
    let first_k = min(group.x * LANES * 8u, params.cols - 1u);
    let last_k = min(group.x * LANES * 8u + LANES * 8u - 1u, params.cols - 1u);
#endif
#endif
#ifdef SG8
#for g G
    let a$g = params.a_at + min(row0 + $gu * 8u + lane, params.rows - 1u) * params.a_row;
#endfor
#endif
#ifdef SG4
#for i R
    let a$i = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#endfor
#endif
#ifdef NF4
#ifdef SG8
    nf4_share(lane);
#endif
#endif
    for (var span = 0u; span < params.depth; span += SPAN) {
#for i R
        var c$i_0 = vec4<f32>();
        var c$i_1 = vec4<f32>();
#endfor
        for (var p0 = span; p0 < min(span + SPAN, params.depth); p0 += DEPTH) {
#ifdef SG8
#import shared/nn_subgroup8.wgsl
#endif
#ifdef SG4
#import shared/nn_subgroup4.wgsl
#endif
#ifdef PLAIN
#import shared/nn_plain.wgsl
#endif
#ifdef TILE
#import shared/nn_tile.wgsl
#endif
        }
        if span == 0u && params.rank > 0u {
            for (var r = 0u; r < params.rank; r++) {
#ifdef V4
                let v0 = low_a[(r * params.cols + k) / 4u];
                let v1 = low_a[(r * params.cols + k) / 4u + 1u];
#else
                let last = (r + 1u) * params.cols - 1u;
                let at = r * params.cols + col;
                let v0 = vec4<f32>(low_a[min(at, last)], low_a[min(at + 1u, last)],
                    low_a[min(at + 2u, last)], low_a[min(at + 3u, last)]);
                let v1 = vec4<f32>(low_a[min(at + 4u, last)], low_a[min(at + 5u, last)],
                    low_a[min(at + 6u, last)], low_a[min(at + 7u, last)]);
#endif
#ifdef SG8
                // A lane has a number of each eighth row.
                var own: array<f32, $G>;
                for (var i = 0u; i < $Gu; i++) {
                    own[i] = low[min(row0 + i * 8u + lane, params.rows - 1u) * params.rank + r];
                }
#endif
#for i R
                {
#ifdef SG8
                    let x = subgroupBroadcast(own[$i / 8], $iu % 8u);
#else
                    let x = low[min(row0 + $iu, params.rows - 1u) * params.rank + r];
#endif
                    c$i_0 = fma(vec4<f32>(x), v0, c$i_0);
                    c$i_1 = fma(vec4<f32>(x), v1, c$i_1);
                }
#endfor
            }
        }
        // Written from an array in a loop: a store for each register makes for long code.
        var sums: array<vec4<f32>, $R * 2>;
#for i R
        sums[2 * $i] = c$i_0;
        sums[2 * $i + 1] = c$i_1;
#endfor
        for (var i = 0u; i < $Ru && row0 + i < params.rows; i++) {
            for (var e = 0u; e < 8u; e++) {
                if col + e < params.cols {
                    let at = (row0 + i) * params.out_row + (col + e) * params.out_col;
                    var value = params.scale * sums[2u * i + e / 4u][e % 4u];
                    if params.accumulate != 0u || span > 0u {
                        value += out[at];
                    }
                    out[at] = value;
                }
            }
        }
    }
}
