// out[i, j] (+)= scale * sum_p a[i, p] * b[j, p] [+ residual[i, j]] [+ low_scale * sum_r low[i, r] * low_b[j, r]]:
// `b` is row-major [cols, depth], in any encoding.
// variant q4: Q4 R=8 N=6
// variant q4_row: Q4 R=1 N=2
// variant q4_sg8: Q4 SG=8 SG8 V=1 R=16 N=4
// variant q4_sg4: Q4 SG=4 SG4 V=2 R=16 N=4
// variant q8: Q8 R=8 N=6
// variant q8_row: Q8 R=1 N=2
// variant q8_sg8: Q8 SG=8 SG8 V=1 R=16 N=4
// variant q8_sg4: Q8 SG=4 SG4 V=2 R=16 N=4
// variant f16: F16 R=8 N=6
// variant f16_row: F16 R=1 N=2
// variant f16_sg8: F16 SG=8 SG8 V=1 R=16 N=4
// variant f16_sg4: F16 SG=4 SG4 V=2 R=16 N=4
// variant f32: F32 R=8 N=6
// variant f32_row: F32 R=1 N=2
// variant f32_sg8: F32 SG=8 SG8 V=1 R=16 N=4
// variant f32_sg4: F32 SG=4 SG4 V=2 R=16 N=4
//
// `a` and `out` are addressed by strides, so either may be a transposed view or a range of columns. Depth goes in blocks
// of 32, the block of the quantized encodings. Up to three segments of columns, one behind the other, are layers that share their input;
// each has its own columns of `low` (none from NONE on), and `low_b` holds the rows of those that have some.
//
// A workgroup shares its rows of `a` through workgroup memory, or (SG lanes a subgroup and a workgroup) by subgroup
// broadcasts: adapters that run on a processor pay for each barrier with every live register.

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
    accumulate: u32,
    scale: f32,
    residual: u32,
    rank: u32,
    low_row: u32,
    low0: u32,
    low1: u32,
    low2: u32,
    low_b_row: u32,
    low_scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> residual: array<f32>;
@group(0) @binding(3) var<storage, read> low: array<f32>;
@group(0) @binding(4) var<storage, read> low_b: array<f32>;
#ifdef Q4
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> scales: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#endif
#ifdef Q8
@group(0) @binding(5) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#endif
#ifdef F16
@group(0) @binding(5) var<storage, read> codes: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#endif
#ifdef F32
@group(0) @binding(5) var<storage, read> codes: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#endif

const NONE = 0xffffffffu;
#ifdef SG
const LANES = $SGu;
#else
const LANES = 32u;
// R rows x 32 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 8>;
#endif
const TILE_COLS = LANES * $Nu;

fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[params.a_at + row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}

// One workgroup computes R rows x (LANES N) columns of `out` within one segment; a lane owns N columns, LANES apart,
// and shares the rows of `a`.
#ifdef SG
@compute @workgroup_size($SG)
#else
@compute @workgroup_size(32)
#endif
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * $Ru;
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
    let col0 = tile_index * TILE_COLS + lane;
    let blocks = (params.depth + 31u) / 32u;
#for j N
    // Columns past the end compute the last one again and are not written.
    let n$j = first + min(col0 + $j * LANES, cols - 1u);
#for i R
    var c$i_$j = 0.0;
#endfor
#endfor
#ifdef SG
#for i R
    let a$i = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#endfor
    // Half a block at a time, and then the ranks of the low-rank part as half blocks more: one body of code, for
    // compilers take long over it.
    let low_blocks = select(0u, (params.rank + 15u) / 16u, low_at != NONE);
#for j N
    let b$j = (low_row0 + n$j - first) * params.rank;
#endfor
    for (var half_block = 0u; half_block < 2u * blocks + low_blocks; half_block++) {
#for v V
        var a_$v: array<vec2<f32>, $R>;
#endfor
#for j N
#for h 2
#for e 2
        var v$j_$h_$e: vec4<f32>;
#endfor
#endfor
#endfor
        if half_block < 2u * blocks {
            let p0 = half_block * 16u;
#for v V
            {
                // A lane loads two numbers of each row, and past the depth the last one again, as zeros.
                let p = vec2<u32>(p0 + $v * 8u + lane * 2u) + vec2<u32>(0u, 1u);
                let in_depth = p < vec2<u32>(params.depth);
                let o = min(p, vec2<u32>(params.depth - 1u)) * params.a_depth;
#for i R
                a_$v[$i] = select(vec2<f32>(), vec2<f32>(a[a$i + o.x], a[a$i + o.y]), in_depth);
#endfor
            }
#endfor
            let second = half_block % 2u == 1u;
#for j N
            {
#ifdef Q4
                let w = codes[n$j * blocks + half_block / 2u];
                let s$j = scales[n$j * blocks + half_block / 2u];
                let c = select(w.xy, w.zw, second);
#endif
#ifdef Q8
                let c = codes[n$j * blocks * 2u + half_block];
                let s$j = scales[n$j * blocks + half_block / 2u];
#endif
#for h 2
#for e 2
                {
#ifdef Q4
                    let u$j = vec4<u32>(c[$h]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * $eu);
#endif
#ifdef Q8
                    let u$j = c[$h * 2 + $e];
#endif
                    let at$j = p0 + $h * 8u + $e * 4u;
#import shared/nt_load.wgsl
                    v$j_$h_$e = v$j;
                }
#endfor
#endfor
            }
#endfor
        } else {
            let p0 = (half_block - 2u * blocks) * 16u;
#for v V
            {
                let p = vec2<u32>(p0 + $v * 8u + lane * 2u) + vec2<u32>(0u, 1u);
                let in_rank = p < vec2<u32>(params.rank);
                let o = low_at + min(p, vec2<u32>(params.rank - 1u));
#for i R
                {
                    let at = min(row0 + $iu, params.rows - 1u) * params.low_row;
                    a_$v[$i] = select(vec2<f32>(), params.low_scale * vec2<f32>(low[at + o.x], low[at + o.y]), in_rank);
                }
#endfor
            }
#endfor
            let last = vec4<u32>(params.rank - 1u);
#for j N
#for h 2
#for e 2
            {
                let p = b$j + min(vec4<u32>(p0 + $h * 8u + $e * 4u) + vec4<u32>(0u, 1u, 2u, 3u), last);
                v$j_$h_$e = vec4<f32>(low_b[p.x], low_b[p.y], low_b[p.z], low_b[p.w]);
            }
#endfor
#endfor
#endfor
        }
#for h 2
#for e 2
#for i R
        {
#ifdef SG8
            let x = subgroupBroadcast(a_0[$i], $hu * 4u + $eu * 2u);
            let y = subgroupBroadcast(a_0[$i], $hu * 4u + $eu * 2u + 1u);
#endif
#ifdef SG4
            let x = subgroupBroadcast(a_$h[$i], $eu * 2u);
            let y = subgroupBroadcast(a_$h[$i], $eu * 2u + 1u);
#endif
#for j N
            c$i_$j = fma(v$j_$h_$e.w, y.y, fma(v$j_$h_$e.z, y.x, fma(v$j_$h_$e.y, x.y, fma(v$j_$h_$e.x, x.x, c$i_$j))));
#endfor
        }
#endfor
#endfor
#endfor
    }
#else
    for (var block = 0u; block < blocks; block++) {
#for j N
#ifdef Q4
        let w$j = codes[n$j * blocks + block];
        let s$j = scales[n$j * blocks + block];
#endif
#ifdef Q8
        let w$j_0 = codes[(n$j * blocks + block) * 2u];
        let w$j_1 = codes[(n$j * blocks + block) * 2u + 1u];
        let s$j = scales[n$j * blocks + block];
#endif
#endfor
        workgroupBarrier();
        for (var i = lane; i < $Ru * 8u; i += LANES) {
            let row = row0 + i / 8u;
            let p = block * 32u + (i % 8u) * 4u;
            tile[i] = vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
        }
        workgroupBarrier();
#for q2 2
#for q4 4
        {
#for j N
#ifdef Q4
            let u$j = vec4<u32>(w$j[($q2 * 4 + $q4) / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($q4 % 2u));
#endif
#ifdef Q8
            let u$j = w$j_$q2[$q4];
#endif
            let at$j = block * 32u + $q2 * 16u + $q4 * 4u;
#import shared/nt_load.wgsl
#endfor
#for i R
            {
                let x = tile[$i * 8 + $q2 * 4 + $q4];
#for j N
                c$i_$j = fma(v$j.w, x.w, fma(v$j.z, x.z, fma(v$j.y, x.y, fma(v$j.x, x.x, c$i_$j))));
#endfor
            }
#endfor
        }
#endfor
#endfor
    }
    if params.rank > 0u && low_at != NONE {
        for (var r = 0u; r < params.rank; r++) {
#for j N
            let v$j = low_b[(low_row0 + n$j - first) * params.rank + r];
#endfor
#for i R
            {
                let x = params.low_scale * low[min(row0 + $iu, params.rows - 1u) * params.low_row + low_at + r];
#for j N
                c$i_$j = fma(v$j, x, c$i_$j);
#endfor
            }
#endfor
        }
    }
#endif
    // Written from an array in a loop: a store for each register makes for long code, too.
    var sums: array<f32, $R * $N>;
#for j N
#for i R
    sums[$i * $N + $j] = c$i_$j;
#endfor
#endfor
    for (var i = 0u; i < min($Ru, params.rows - row0); i++) {
        for (var j = 0u; j < $Nu; j++) {
            let col = col0 + j * LANES;
            if col < cols {
                let at = params.out_at + (row0 + i) * params.out_row + (first + col) * params.out_col;
                var value = params.scale * sums[i * $Nu + j];
                if params.residual != 0u {
                    value += residual[at];
                }
                if params.accumulate != 0u {
                    value += out[at];
                }
                out[at] = value;
            }
        }
    }
}
