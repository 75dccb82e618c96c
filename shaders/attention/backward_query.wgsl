// dq of attention, into the first columns of dqkv; and stats[t, h].y = delta = sum_d dout out, which the other gradients
// read. With p = exp(s - lse), s = scale q.k: ds = p (dout.v - delta), dq = scale sum_j ds_j k_j.
// qkv, dqkv: [T, (H + 2 K) D].
// variant d16: D4=4
// variant d32: D4=8
// variant d48: D4=12
// variant d64: D4=16
// variant d80: D4=20
// variant d96: D4=24
// variant d128: D4=32

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    accumulate: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4<f32>>;

const ROWS = 32u;
const KEYS = 8u;
var<workgroup> k_tile: array<vec4<f32>, $D4 * 8>;
var<workgroup> v_tile: array<vec4<f32>, $D4 * 8>;

// One workgroup computes dq for 32 query rows of one head, a row a lane; tiles of 8 keys and values are shared.
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let row = min(group.x * ROWS + lane, params.rows - 1u);
    let range = ranges[row];
    let first = ranges[group.x * ROWS].x;
    let last = ranges[min(group.x * ROWS + ROWS, params.rows) - 1u].y;
    let out_at = (row * params.heads + head) * $D4u;
    let kv_row = (params.heads + 2u * params.kv_heads) * $D4u;
    let at = row * kv_row + head * $D4u;
    let k_at = (params.heads + kv_head) * $D4u;
    let v_at = k_at + params.kv_heads * $D4u;
    let lse = stats[row * params.heads + head].x;
    var delta = 0.0;
#for d D4
    let q$d = qkv[at + $du] * params.scale;
    let g$d = dout[out_at + $du];
    delta += dot(g$d, out[out_at + $du]);
    var a$d = vec4<f32>();
#endfor
    for (var key0 = first; key0 < last; key0 += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * $D4u; i += ROWS) {
            let key = min(key0 + i / $D4u, last - 1u);
            let source = key * kv_row + i % $D4u;
            k_tile[i] = qkv[k_at + source];
            v_tile[i] = qkv[v_at + source];
        }
        workgroupBarrier();
        for (var j = 0u; j < KEYS; j++) {
            let base = j * $D4u;
            var s = 0.0;
            var dp = 0.0;
#for d D4
            let k$d = k_tile[base + $du];
            s += dot(q$d, k$d);
            dp += dot(g$d, v_tile[base + $du]);
#endfor
            let seen = key0 + j >= range.x && key0 + j < range.y;
            let ds = vec4<f32>(select(0.0, exp(s - lse) * (dp - delta), seen));
#for d D4
            a$d = fma(ds, k$d, a$d);
#endfor
        }
    }
    if group.x * ROWS + lane < params.rows {
        stats[row * params.heads + head].y = delta;
        if params.accumulate != 0u {
#for d D4
            dqkv[at + $du] += a$d * params.scale;
#endfor
        } else {
#for d D4
            dqkv[at + $du] = a$d * params.scale;
#endfor
        }
    }
}
