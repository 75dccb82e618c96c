// out[i, j] = sum_p a[i, p] * b[j, p] [+ residual[i, j]] [+ low_scale * sum_r low[i, r] * low_b[j, r]]:
// `b` is row-major [cols, depth], in any encoding.
// every encoding
// variant : PLAIN R=8 N=6
// variant tile: TILE R=8 N=8 X=8 Y=8 K4=4 LA=4 LB=2
// variant tile_v4: TILE V4 R=8 N=8 X=8 Y=8 K4=4 LA=4 LB=2
// variant small_v4: TILE V4 R=4 N=4 X=16 Y=8 K4=8 LA=2 LB=2
// variant matrix: TILE MATRIX V4 R=8 N=4 X=16 Y=8 K4=8 LA=4 LB=2
// variant row: PLAIN R=1 N=2
// variant row_sg8: SG=8 SG8 ROW V4 R=1 N=3
// variant row_sg4: SG=4 SG4 R=1 N=12
// variant few_sg8: SG=8 SG8 V4 R=8 G=1 N=12
// variant few_sg4: SG=4 SG4 R=8 N=12
// variant sg8: SG=8 SG8 R=16 G=2 N=12
// variant sg8_v4: SG=8 SG8 V4 R=16 G=2 N=12
// variant sg4: SG=4 SG4 R=16 N=12
//
// `a` and `out` are addressed by strides, so either may be a transposed view or a range of columns. Depth goes in
// blocks of 32, the block of the quantized encodings. Up to three segments of columns, one behind the other, are layers
// that share their input; each has its own columns of `low` (none from NONE on), and `low_b` holds the rows of those
// that have some.
//
// Three forms. PLAIN shares rows of `a` through workgroup memory. TILE, for GPUs, shares the decoded columns of `b` as
// well; `small` is the one for products of few tiles. With SG lanes a subgroup and a workgroup, rows are shared by
// subgroup broadcasts or swaps: adapters that run on a processor pay for each barrier with every live register. `row`
// and `few` are for one row and up to eight, which generation has. PLAIN
// and TILE give the same bits. A TILE may also be multiplied by a GPU's matrix units (MATRIX), in half precision.
#ifdef MATRIX
enable f16;
enable wgpu_cooperative_matrix;
#endif

struct Params {
    rows: u32,
    cols0: u32,
    cols1: u32,
    cols2: u32,
    depth: u32,
    a_at: u32,
    a_row: u32,
    a_depth: u32,
    out_at: u32,
    out_row: u32,
    out_col: u32,
    residual: u32,
    rank: u32,
    low_row: u32,
    low0: u32,
    low1: u32,
    low2: u32,
    low_b_row: u32,
    low_scale: f32,
    // What `a` is multiplied by to be a half.
    half_scale: f32,
}

// A lane of a tile takes eight weights at a time, the others half a block.
#ifdef TILE
#ifdef BITS8
alias Codes = vec2<u32>;
#else
alias Codes = u32;
#endif
#else
alias Codes = vec4<u32>;
#endif

@group(0) @binding(0) var<uniform> params: Params;
#ifdef V4
// There the numbers of a row lie one beside another, and every start, stride and count is a multiple of 4.
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read> low: array<f32>;
@group(0) @binding(4) var<storage, read> low_b: array<f32>;
#ifdef CODED
@group(0) @binding(5) var<storage, read> codes: array<Codes>;
@group(0) @binding(6) var<storage, read> scales: array<Stored>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#import shared/coded.wgsl
#endif
#ifdef F16
#ifdef V4
@group(0) @binding(5) var<storage, read> codes: array<vec2<u32>>;
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

const NONE = 0xffffffffu;
#ifdef SG
const LANES = $SGu;
#endif
#ifdef PLAIN
const LANES = 32u;
// R rows x 32 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 8>;
#endif
#ifdef TILE
// X lanes across the columns and Y down the rows.
const LANES = $Xu;
const ROWS_APART = $Yu;
const SIZE = LANES * ROWS_APART;
const TILE_ROWS = $Ru * ROWS_APART;
// Depth goes in blocks of this many, in vec4.
const DEPTH = $K4u * 4u;
#ifdef MATRIX
const B_STRIDE = A_STRIDE;
var<workgroup> half_b: array<f16, 64 * 40>;
#import matmul/matrix.wgsl
#else
var<workgroup> tile: array<vec4<f32>, $R * $Y * $K4>;
var<workgroup> tile_b: array<vec4<f32>, $N * $X * $K4>;
#endif
#else
const ROWS_APART = 1u;
const TILE_ROWS = $Ru;
#endif
const TILE_COLS = LANES * $Nu;

#ifdef TILE
#import matmul/tile_load.wgsl
#endif
#ifdef V4
#else
fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[params.a_at + row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}
#endif

// Element `at` of `out`, whose sum over the depth is this.
fn put(at: u32, sum: f32) {
    var value = sum;
    if params.residual != 0u {
        value += residual[at];
    }
    out[at] = value;
}

// One workgroup computes TILE_ROWS x TILE_COLS of `out` within one segment; a lane owns R rows, ROWS_APART, of N
// columns, LANES apart.
#ifdef SG
@compute @workgroup_size($SG)
#endif
#ifdef PLAIN
@compute @workgroup_size(32)
#endif
#ifdef TILE
@compute @workgroup_size(SIZE)
#endif
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
#ifdef TILE
    let row0 = group.y * TILE_ROWS + lane / LANES;
#else
    let row0 = group.y * TILE_ROWS;
#endif
    var tile_index = group.x;
    var first = 0u;
    var cols = params.cols0;
    var low_at = params.low0;
    var low_row0 = params.low_b_row;
    let tiles0 = (params.cols0 + TILE_COLS - 1u) / TILE_COLS;
    let tiles1 = (params.cols1 + TILE_COLS - 1u) / TILE_COLS;
    if tile_index >= tiles0 {
        tile_index -= tiles0;
        first = params.cols0;
        cols = params.cols1;
        low_at = params.low1;
        low_row0 += select(params.cols0, 0u, params.low0 == NONE);
        if tile_index >= tiles1 {
            tile_index -= tiles1;
            first += params.cols1;
            cols = params.cols2;
            low_at = params.low2;
            low_row0 += select(params.cols1, 0u, params.low1 == NONE);
        }
    }
    let col0 = tile_index * TILE_COLS + lane % LANES;
    let blocks = (params.depth + 31u) / 32u;
#ifdef MATRIX
#import matmul/matrix_sums.wgsl
#import matmul/nt_tile.wgsl
    // The low-rank part is more of the depth.
    let rank = select(params.rank, 0u, low_at == NONE);
    for (var r0 = 0u; r0 < rank; r0 += 32u) {
        workgroupBarrier();
        for (var i = lane; i < TILE_ROWS * 32u; i += SIZE) {
            let r = min(r0 + i % 32u, rank - 1u);
            let in_rank = r0 + i % 32u < rank;
            let row = min(group.y * TILE_ROWS + i / 32u, params.rows - 1u);
            let x = params.half_scale * params.low_scale * low[row * params.low_row + low_at + r];
            half_a[i / 32u * A_STRIDE + i % 32u] = f16(select(0.0, x, in_rank));
            let n = min(tile_index * TILE_COLS + i / 32u, cols - 1u);
            half_b[i / 32u * B_STRIDE + i % 32u] = f16(select(0.0, low_b[(low_row0 + n) * params.rank + r], in_rank));
        }
        workgroupBarrier();
#import matmul/nt_matrix.wgsl
    }
#for i 2
#for j 2
    {
#import matmul/matrix_stage.wgsl
        for (var e = lane % 32u; e < 256u; e += 32u) {
            let row = group.y * TILE_ROWS + row_of_warp + $iu * 16u + e / 16u;
            let col = tile_index * TILE_COLS + col_of_warp + $ju * 16u + e % 16u;
            if row < params.rows && col < cols {
                let at = params.out_at + row * params.out_row + (first + col) * params.out_col;
                put(at, staged[stage + e] / params.half_scale);
            }
        }
    }
#endfor
#endfor
#else
#for j N
    // Columns past the end compute the last one again and are not written.
    let n$j = first + min(col0 + $j * LANES, cols - 1u);
#for i R
    var c$i_$j = 0.0;
#endfor
#endfor
#ifdef SG8
#ifdef NF4
    nf4_share(lane);
#endif
#ifdef ROW
#import matmul/nt_row8.wgsl
#import matmul/nt_low.wgsl
#else
#import matmul/nt_subgroup8.wgsl
#endif
#endif
#ifdef SG4
#import matmul/nt_subgroup4.wgsl
#import matmul/nt_low.wgsl
#endif
#ifdef PLAIN
#import matmul/nt_plain.wgsl
#import matmul/nt_low.wgsl
#endif
#ifdef TILE
#import matmul/nt_tile.wgsl
#import matmul/nt_low.wgsl
#endif
    // Written from an array in a loop: a store for each register makes for long code, too.
    var sums: array<f32, $R * $N>;
#for j N
#for i R
    sums[$i * $N + $j] = c$i_$j;
#endfor
#endfor
    for (var i = 0u; i < $Ru && row0 + i * ROWS_APART < params.rows; i++) {
        for (var j = 0u; j < $Nu; j++) {
            let col = col0 + j * LANES;
            if col < cols {
                let at = params.out_at + (row0 + i * ROWS_APART) * params.out_row + (first + col) * params.out_col;
                put(at, sums[i * $Nu + j]);
            }
        }
    }
#endif
}
