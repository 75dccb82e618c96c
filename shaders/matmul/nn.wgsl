// out[i, k] (+)= scale * sum_p a[i, p] * b[p, k]: `b` is row-major [depth, cols], in any encoding.
// variant q4: Q4 R=8
// variant q8: Q8 R=8
// variant f16: F16 R=8
// variant f32: F32 R=8
//
// The same packed weights as nt.wgsl read in the other direction: the input gradient of a linear layer, and with f32
// `b` every weight gradient. `a` and `out` are addressed by strides.

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
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#endif
#ifdef Q8
@group(0) @binding(2) var<storage, read> codes: array<vec2<u32>>;
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

// 24 lanes of 8 columns make tiles of 192, which divide the usual layer sizes (192, 576, 1536) without waste.
const LANES = 24u;
const DEPTH = 16u;
// A long f32 sum stops seeing its small terms. The loss head sums over the vocabulary, where the many unlikely tokens
// pull together: sums of at most this many terms are added up instead, a multiple of DEPTH.
const SPAN = 1024u;
// R rows x 16 of `a`, as vec4 along the depth.
var<workgroup> tile: array<vec4<f32>, $R * 4>;

fn load_a(row: u32, p: u32) -> f32 {
    if row < params.rows && p < params.depth {
        return a[row * params.a_row + p * params.a_depth];
    }
    return 0.0;
}

// One workgroup computes R rows x 192 columns of `out`; a lane owns 8 neighbouring columns and shares the rows of `a`.
@compute @workgroup_size(24)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row0 = group.y * $Ru;
    let col = (group.x * LANES + lane) * 8u;
#ifdef Q4
    // A lane past the end works on the last eight columns again and writes nothing.
    let k = min(col, params.cols - 8u);
#endif
#ifdef Q8
    let k = min(col, params.cols - 8u);
#endif
    for (var span = 0u; span < params.depth; span += SPAN) {
#for i R
        var c$i_0 = vec4<f32>();
        var c$i_1 = vec4<f32>();
#endfor
        for (var p0 = span; p0 < min(span + SPAN, params.depth); p0 += DEPTH) {
            workgroupBarrier();
            for (var i = lane; i < $Ru * 4u; i += LANES) {
                let row = row0 + i / 4u;
                let p = p0 + (i % 4u) * 4u;
                tile[i] = vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
            }
            workgroupBarrier();
            for (var q = 0u; q < 4u; q++) {
#for i R
                let x$i = tile[$iu * 4u + q];
#endfor
#for e 4
                {
                    // Rows of `b` past the depth meet zeros of the tile.
                    let p = min(p0 + q * 4u + $eu, params.depth - 1u);
#ifdef Q4
                    let at = p * params.cols + k;
                    let w = vec4<u32>(codes[at / 8u]);
                    let s = scales[at / 32u];
                    let v0 = fma(vec4<f32>((w >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u)), vec4<f32>(s.x), vec4<f32>(s.y));
                    let v1 = fma(vec4<f32>((w >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u)), vec4<f32>(s.x), vec4<f32>(s.y));
#endif
#ifdef Q8
                    let at = p * params.cols + k;
                    let w = codes[at / 8u];
                    let s = scales[at / 32u];
                    let v0 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.x) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)) * s;
                    let v1 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.y) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)) * s;
#endif
#ifdef F16
                    let last = (p + 1u) * params.cols / 2u - 1u;
                    let at = (p * params.cols + col) / 2u;
                    let v0 = vec4<f32>(unpack2x16float(codes[min(at, last)]), unpack2x16float(codes[min(at + 1u, last)]));
                    let v1 = vec4<f32>(unpack2x16float(codes[min(at + 2u, last)]), unpack2x16float(codes[min(at + 3u, last)]));
#endif
#ifdef F32
                    let last = (p + 1u) * params.cols - 1u;
                    let at = p * params.cols + col;
                    let v0 = vec4<f32>(codes[min(at, last)], codes[min(at + 1u, last)],
                        codes[min(at + 2u, last)], codes[min(at + 3u, last)]);
                    let v1 = vec4<f32>(codes[min(at + 4u, last)], codes[min(at + 5u, last)],
                        codes[min(at + 6u, last)], codes[min(at + 7u, last)]);
#endif
#for i R
                    c$i_0 = fma(vec4<f32>(x$i[$e]), v0, c$i_0);
                    c$i_1 = fma(vec4<f32>(x$i[$e]), v1, c$i_1);
#endfor
                }
#endfor
            }
        }
#for i R
        if row0 + $iu < params.rows {
            let at = (row0 + $iu) * params.out_row;
#for h 2
#for e 4
            if col + $h * 4u + $eu < params.cols {
                let o = at + (col + $h * 4u + $eu) * params.out_col;
                let value = params.scale * c$i_$h[$e];
                if params.accumulate != 0u || span > 0u {
                    out[o] += value;
                } else {
                    out[o] = value;
                }
            }
#endfor
#endfor
        }
#endfor
    }
}
