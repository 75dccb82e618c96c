// out[i, k] (+)= sum_p a[i, p] * b[p, k] [+ sum_r low[i, r] * low_a[r, k]]: `b` is row-major [depth, cols], in any
// encoding. Or else, gated, that sum is the gradient of SwiGLU's output and `out` is that of its input.
// every encoding
// variant : PLAIN R=8 L=24 H=1 E=2
// variant tile: TILE R=8 H=2 E=1 X=8 Y=8 K4=4 LA=4 LB=2
// variant tile_v4: TILE V4 R=8 H=2 E=1 X=8 Y=8 K4=4 LA=4 LB=2
// variant small_v4: TILE V4 R=4 H=1 E=1 X=16 Y=8 K4=8 LA=2 LB=2
// variant matrix: TILE MATRIX V4 R=8 H=1 E=1 X=16 Y=8 K4=8 LA=4 LB=2
// variant sg8: SG=8 SG8 R=16 G=2 L=8 H=1 E=2
// variant sg8_v4: SG=8 SG8 V4 R=16 G=2 L=8 H=1 E=2
// variant sg4: SG=4 SG4 R=16 L=4 H=2 E=2
//
// The same packed weights as nt.wgsl read in the other direction: the input gradient of a linear layer, and with f32
// `b` every weight gradient. `a` and `out` are addressed by strides. As in nt.wgsl a workgroup shares its rows of `a`
// through workgroup memory or by subgroup broadcasts or swaps, and TILE the decoded `b` as well. A long depth may be
// split over workgroups (z), which each write a matrix of their own for sum.wgsl.
#ifdef MATRIX
enable f16;
enable wgpu_cooperative_matrix;
#endif

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
    rank: u32,
    // Of the depth, what one workgroup takes: a multiple of 32.
    split: u32,
    // Whether the result goes through SwiGLU's backward, to which it is the gradient of the output.
    gated: u32,
    // What `a` is multiplied by to be a half.
    half_scale: f32,
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
@group(0) @binding(4) var<storage, read> gate_up: array<f32>;
#ifdef CODED
#ifdef BITS8
@group(0) @binding(5) var<storage, read> codes: array<vec2<u32>>;
#else
@group(0) @binding(5) var<storage, read> codes: array<u32>;
#endif
@group(0) @binding(6) var<storage, read> scales: array<Stored>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#import shared/coded.wgsl
#endif
#ifdef F16
#ifdef V4
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
#else
@group(0) @binding(5) var<storage, read> codes: array<u32>;
#endif
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#endif
#ifdef F32
#ifdef V4
@group(0) @binding(5) var<storage, read> codes: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read> codes: array<f32>;
#endif
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#endif

// Depth goes in blocks of this many.
#ifdef SG8
const DEPTH = 4u;
#endif
#ifdef SG4
const DEPTH = 8u;
#endif
#ifdef PLAIN
const DEPTH = 16u;
// R rows x 16 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 4>;
#endif
#ifdef TILE
// X lanes across the columns, in fours of them, and Y down the rows.
const ROWS_APART = $Yu;
const SIZE = $Xu * ROWS_APART;
const TILE_ROWS = $Ru * ROWS_APART;
const TILE_COLS = $Xu * $Hu * 4u;
const COLS_APART = $Xu * 4u;
const DEPTH = $K4u * 4u;
// `a` in vec4 along the depth, `b` along the columns.
#ifdef MATRIX
const B_STRIDE = 72u;
var<workgroup> half_b: array<f16, 32 * 72>;
#import matmul/matrix.wgsl
#else
var<workgroup> tile: array<vec4<f32>, $R * $Y * $K4>;
var<workgroup> tile_b: array<vec4<f32>, $H * $X * $K4 * 4>;
#endif
#else
// Lanes of 8 neighbouring columns; 24 of them make tiles of 192, which divide the usual layer sizes without waste.
const LANES = $Lu;
const ROWS_APART = 1u;
const COLS_APART = LANES * 8u;
#endif
// A long f32 sum stops seeing its small terms. The loss head sums over the vocabulary, where the many unlikely tokens
// pull together: sums of at most this many terms are added up instead, a multiple of DEPTH.
const SPAN = 1024u;

#ifdef TILE
#import matmul/tile_load.wgsl
#endif
#ifdef V4
#else
#ifdef SG
#else
fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[params.a_at + row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}
#endif
#endif

alias Numbers = f32;
#import shared/swiglu.wgsl

// Element `at` of `out`, whose sum over the depth is this, perhaps added to what is there. A complete one that is gated
// becomes the gradients of gate and up, which stand side by side in rows twice as long.
fn put(at: u32, sum: f32, accumulate: bool, gated: bool) {
    var value = sum;
    if accumulate {
        value += out[at];
    }
    if gated {
        let gradients = swiglu_backward(gate_up[at], gate_up[at + params.cols], value);
        out[at + params.cols] = gradients.up;
        value = gradients.gate;
    }
    out[at] = value;
}

// One workgroup computes R rows x (8 LANES H) columns of `out`, or TILE_ROWS x TILE_COLS. A lane owns R rows,
// ROWS_APART, of H times E fours of neighbouring columns, COLS_APART.
#ifdef TILE
@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * TILE_ROWS + lane / $Xu;
#for h H
    let col$h = group.x * TILE_COLS + lane % $Xu * 4u + $hu * COLS_APART;
#endfor
#else
@compute @workgroup_size($L)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * $Ru;
#for h H
    let col$h = ((group.x * $Hu + $hu) * LANES + lane) * 8u;
    // A lane past the end works on the last eight columns again and writes nothing.
    let k$h = min(col$h, max(params.cols, 8u) - 8u);
#endfor
#ifdef SG4
    let place = vec4<u32>(0u, 1u, 2u, 3u);
#import matmul/place.wgsl
#else
    let col = col0;
    let k = k0;
#endif
#endif
#ifdef SG8
#ifdef CODED
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
    let begin = group.z * params.split;
    let end = min(begin + params.split, params.depth);
    let out_at = group.z * params.rows * params.cols;
    for (var span = begin; span < end; span += SPAN) {
        let accumulate = params.accumulate != 0u || span > begin;
        let gated = params.gated != 0u && span + SPAN >= end;
#ifdef MATRIX
#import matmul/matrix_sums.wgsl
#else
#for i R
#for h H
#for e E
        var c$i_$h_$e = vec4<f32>();
#endfor
#endfor
#endfor
#endif
#ifdef TILE
#import matmul/nn_tile.wgsl
#else
        for (var p0 = span; p0 < min(span + SPAN, end); p0 += DEPTH) {
#ifdef SG8
#import matmul/nn_subgroup8.wgsl
#endif
#ifdef SG4
#import matmul/nn_subgroup4.wgsl
#endif
#ifdef PLAIN
#import matmul/nn_plain.wgsl
#endif
        }
#endif
#ifdef MATRIX
        // The low-rank part is more of the depth.
        let rank = select(params.rank, 0u, span > 0u);
        for (var r0 = 0u; r0 < rank; r0 += 32u) {
            workgroupBarrier();
            for (var i = lane; i < TILE_ROWS * 32u; i += SIZE) {
                let r = r0 + i % 32u;
                let row = min(group.y * TILE_ROWS + i / 32u, params.rows - 1u);
                let x = params.half_scale * low[row * rank + min(r, rank - 1u)];
                half_a[i / 32u * A_STRIDE + i % 32u] = f16(select(0.0, x, r < rank));
            }
            for (var i = lane; i < TILE_COLS * 8u; i += SIZE) {
                // Rows past the rank meet zeros.
                let r = min(r0 + i / (TILE_COLS / 4u), rank - 1u);
                let column = min(group.x * TILE_COLS + i % (TILE_COLS / 4u) * 4u, params.cols - 4u);
                let value = low_a[(r * params.cols + column) / 4u];
                put_b(i / (TILE_COLS / 4u) * B_STRIDE + i % (TILE_COLS / 4u) * 4u, value);
            }
            workgroupBarrier();
#import matmul/nn_matrix.wgsl
        }
#for i 2
#for j 2
        {
#import matmul/matrix_stage.wgsl
            for (var e = lane % 32u; e < 256u; e += 32u) {
                let row = group.y * TILE_ROWS + row_of_warp + $iu * 16u + e / 16u;
                let column = group.x * TILE_COLS + col_of_warp + $ju * 16u + e % 16u;
                if row < params.rows && column < params.cols {
                    let at = out_at + row * params.out_row + column * params.out_col;
                    put(at, staged[stage + e] / params.half_scale, accumulate, gated);
                }
            }
        }
#endfor
#endfor
#else
        if span == 0u && params.rank > 0u {
            for (var r = 0u; r < params.rank; r++) {
#for h H
#for e E
#ifdef V4
                let v$h_$e = low_a[(r * params.cols + min(col$h + $eu * 4u, params.cols - 4u)) / 4u];
#else
                let last$h_$e = (r + 1u) * params.cols - 1u;
                let at$h_$e = r * params.cols + col$h + $eu * 4u;
                let v$h_$e = vec4<f32>(low_a[min(at$h_$e, last$h_$e)], low_a[min(at$h_$e + 1u, last$h_$e)],
                    low_a[min(at$h_$e + 2u, last$h_$e)], low_a[min(at$h_$e + 3u, last$h_$e)]);
#endif
#endfor
#endfor
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
                    let x = low[min(row0 + $iu * ROWS_APART, params.rows - 1u) * params.rank + r];
#endif
#for h H
#for e E
                    c$i_$h_$e = fma(vec4<f32>(x), v$h_$e, c$i_$h_$e);
#endfor
#endfor
                }
#endfor
            }
        }
        // Written from an array in a loop: a store for each register makes for long code.
        var sums: array<vec4<f32>, $R * $H * $E>;
#for i R
#for h H
#for e E
        sums[($i * $H + $h) * $E + $e] = c$i_$h_$e;
#endfor
#endfor
#endfor
        for (var i = 0u; i < $Ru && row0 + i * ROWS_APART < params.rows; i++) {
            for (var e = 0u; e < $Hu * $Eu * 4u; e++) {
                let column = col0 + e / ($Eu * 4u) * COLS_APART + e % ($Eu * 4u);
                if column < params.cols {
                    let at = out_at + (row0 + i * ROWS_APART) * params.out_row + column * params.out_col;
                    put(at, sums[i * $Hu * $Eu + e / 4u][e % 4u], accumulate, gated);
                }
            }
        }
#endif
    }
}
