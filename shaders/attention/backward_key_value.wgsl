// dk and dv of attention: dv_j = sum_i p_ij dout_i, dk_j = scale sum_i ds_ij q_i, over the rows i that see key j and
// over the query heads that share its head, into the last columns of dqkv. key_ranges[j]: the rows that see key j,
// [start, end). qkv, dqkv: [T, (H + 2 K) D].
// variant d16: D4=4
// variant d32: D4=8
// variant d48: D4=12
// variant d64: D4=16
// variant d80: D4=20
// variant d96: D4=24
// variant d128: D4=32

struct Params {
    keys: u32,
    heads: u32,
    kv_heads: u32,
    accumulate: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key_ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<vec4<f32>>;

const KEYS = 32u;
const ROWS = 8u;
var<workgroup> q_tile: array<vec4<f32>, $D4 * 8>;
var<workgroup> g_tile: array<vec4<f32>, $D4 * 8>;
var<workgroup> stat_tile: array<vec2<f32>, 8>;

// One workgroup computes dk and dv for 32 keys of one kv head, a key a lane; tiles of 8 query rows are shared.
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let kv_head = group.y;
    let shared_heads = params.heads / params.kv_heads;
    let key = min(group.x * KEYS + lane, params.keys - 1u);
    let range = key_ranges[key];
    let first = key_ranges[group.x * KEYS].x;
    let last = key_ranges[min(group.x * KEYS + KEYS, params.keys) - 1u].y;
    let row_size = (params.heads + 2u * params.kv_heads) * $D4u;
    let k_at = key * row_size + (params.heads + kv_head) * $D4u;
    let v_at = k_at + params.kv_heads * $D4u;
#for d D4
    let k$d = qkv[k_at + $du] * params.scale;
    let v$d = qkv[v_at + $du];
    var a$d = vec4<f32>();
    var b$d = vec4<f32>();
#endfor
    for (var head = kv_head * shared_heads; head < (kv_head + 1u) * shared_heads; head++) {
        for (var row0 = first; row0 < last; row0 += ROWS) {
            workgroupBarrier();
            for (var i = lane; i < ROWS * $D4u; i += KEYS) {
                let row = min(row0 + i / $D4u, last - 1u);
                q_tile[i] = qkv[row * row_size + head * $D4u + i % $D4u];
                g_tile[i] = dout[(row * params.heads + head) * $D4u + i % $D4u];
            }
            if lane < ROWS {
                stat_tile[lane] = stats[min(row0 + lane, last - 1u) * params.heads + head];
            }
            workgroupBarrier();
            for (var i = 0u; i < ROWS; i++) {
                let base = i * $D4u;
                var s = 0.0;
                var dp = 0.0;
#for d D4
                let q$d = q_tile[base + $du];
                let g$d = g_tile[base + $du];
                s += dot(q$d, k$d);
                dp += dot(g$d, v$d);
#endfor
                let seen = row0 + i >= range.x && row0 + i < range.y;
                let p = select(0.0, exp(s - stat_tile[i].x), seen);
                let ds = select(0.0, p * (dp - stat_tile[i].y), seen);
#for d D4
                a$d = fma(vec4<f32>(ds), q$d, a$d);
                b$d = fma(vec4<f32>(p), g$d, b$d);
#endfor
            }
        }
    }
    if group.x * KEYS + lane < params.keys {
#for d D4
        if params.accumulate != 0u {
            dqkv[k_at + $du] += a$d * params.scale;
            dqkv[v_at + $du] += b$d;
        } else {
            dqkv[k_at + $du] = a$d * params.scale;
            dqkv[v_at + $du] = b$d;
        }
#endfor
    }
}
