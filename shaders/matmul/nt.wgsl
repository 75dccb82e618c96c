// out[i, j] (+)= scale * sum_p a[i, p] * b[j, p]: `b` is row-major [cols, depth], in any encoding.
// variant q4: Q4 R=8 N=6
// variant q4_row: Q4 R=1 N=2
// variant q8: Q8 R=8 N=6
// variant q8_row: Q8 R=1 N=2
// variant f16: F16 R=8 N=6
// variant f16_row: F16 R=1 N=2
// variant f32: F32 R=8 N=6
// variant f32_row: F32 R=1 N=2
//
// `a` and `out` are addressed by strides, so either may be a transposed view: the low-rank products and every weight
// gradient are this kernel or its sibling nn.wgsl. Depth goes in blocks of 32, the block of the quantized encodings.

struct Params {
    rows: u32,
    cols: u32,
    depth: u32,
    a_row: u32,
    a_depth: u32,
    out_row: u32,
    out_col: u32,
    accumulate: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
#ifdef Q4
@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#endif
#ifdef Q8
@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#endif
#ifdef F16
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#endif
#ifdef F32
@group(0) @binding(2) var<storage, read> codes: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#endif

const LANES = 32u;
// R rows x 32 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 8>;

fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}

// One workgroup computes R rows x (32 N) columns of `out`; a lane owns N columns, 32 apart, and shares the rows of `a`.
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * $Ru;
    let col0 = group.x * LANES * $Nu + lane;
    let blocks = (params.depth + 31u) / 32u;
#for j N
    // Columns past the end compute the last one again and are not written.
    let n$j = min(col0 + $j * LANES, params.cols - 1u);
#for i R
    var c$i_$j = 0.0;
#endfor
#endfor
    for (var block = 0u; block < blocks; block++) {
        workgroupBarrier();
        for (var i = lane; i < $Ru * 8u; i += LANES) {
            let row = row0 + i / 8u;
            let p = block * 32u + (i % 8u) * 4u;
            tile[i] = vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
        }
        workgroupBarrier();
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
#for q2 2
#for q4 4
        {
#for j N
#ifdef Q4
            let u$j = vec4<u32>(w$j[($q2 * 4 + $q4) / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($q4 % 2u));
            let v$j = fma(vec4<f32>(u$j & vec4<u32>(15u)), vec4<f32>(s$j.x), vec4<f32>(s$j.y));
#endif
#ifdef Q8
            let u$j = bitcast<vec4<i32>>(vec4<u32>(w$j_$q2[$q4]) << vec4<u32>(24u, 16u, 8u, 0u));
            let v$j = vec4<f32>(u$j >> vec4<u32>(24u)) * s$j;
#endif
#ifdef F16
            // The tile is zero past the depth, so a clamped, finite weight adds nothing.
            let p$j = (n$j * params.depth + min(block * 32u + $q2 * 16u + $q4 * 4u, params.depth - 4u)) / 2u;
            let v$j = vec4<f32>(unpack2x16float(codes[p$j]), unpack2x16float(codes[p$j + 1u]));
#endif
#ifdef F32
            let p$j = block * 32u + $q2 * 16u + $q4 * 4u;
            let l$j = params.depth - 1u;
            let r$j = n$j * params.depth;
            let v$j = vec4<f32>(codes[r$j + min(p$j, l$j)], codes[r$j + min(p$j + 1u, l$j)],
                codes[r$j + min(p$j + 2u, l$j)], codes[r$j + min(p$j + 3u, l$j)]);
#endif
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
#for j N
    if col0 + $j * LANES < params.cols {
#for i R
        if row0 + $iu < params.rows {
            let at = (row0 + $iu) * params.out_row + n$j * params.out_col;
            let value = params.scale * c$i_$j;
            if params.accumulate != 0u {
                out[at] += value;
            } else {
                out[at] = value;
            }
        }
#endfor
    }
#endfor
}
