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
// variant d16_sg8: SG=8 D4=4 N=2 B=1 E=4
// variant d32_sg8: SG=8 D4=8 N=4 B=1 E=8
// variant d48_sg8: SG=8 D4=12 N=4 B=2 E=6
// variant d64_sg8: SG=8 D4=16 N=3 B=2 E=8
// variant d80_sg8: SG=8 D4=20 N=2 B=4 E=5
// variant d96_sg8: SG=8 D4=24 N=2 B=3 E=8
// variant d128_sg8: SG=8 D4=32 N=2 B=4 E=8
// variant d16_sg4: SG=4 D4=4 N=2 B=1 E=4
// variant d32_sg4: SG=4 D4=8 N=4 B=2 E=4
// variant d48_sg4: SG=4 D4=12 N=4 B=3 E=4
// variant d64_sg4: SG=4 D4=16 N=4 B=4 E=4
// variant d80_sg4: SG=4 D4=20 N=2 B=5 E=4
// variant d96_sg4: SG=4 D4=24 N=2 B=6 E=4
// variant d128_sg4: SG=4 D4=32 N=2 B=8 E=4

struct Params {
    keys: u32,
    heads: u32,
    kv_heads: u32,
    accumulate: u32,
    scale: f32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key_ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<vec4<f32>>;

#ifdef SG
// One workgroup computes dk and dv for (N SG) keys of one kv head, N a lane, all in arrays as in forward.wgsl. E lanes
// load a query row, as B vec4 each, and all ask them for it.
@compute @workgroup_size($SG)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let shared_heads = params.heads / params.kv_heads;
    let tiles = (params.keys + $Nu * $SGu - 1u) / ($Nu * $SGu);
    let key0 = group.x * params.stride % tiles * $Nu * $SGu;
    let first = key_ranges[key0].x;
    let last = key_ranges[min(key0 + $Nu * $SGu, params.keys) - 1u].y;
    let row_size = (params.heads + 2u * params.kv_heads) * $D4u;
    let k_at = (params.heads + group.y) * $D4u;
    let v_at = k_at + params.kv_heads * $D4u;
    let lane_at = min(lane, $Eu - 1u);
    var k: array<vec4<f32>, $D4 * $N>;
    var v: array<vec4<f32>, $D4 * $N>;
    var a: array<vec4<f32>, $D4 * $N>;
    var b: array<vec4<f32>, $D4 * $N>;
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let at = min(key0 + i % $Nu * $SGu + lane, params.keys - 1u) * row_size + i / $Nu;
        k[i] = qkv[k_at + at] * params.scale;
        v[i] = qkv[v_at + at];
    }
#for n N
    let range$n = key_ranges[min(key0 + $n * $SGu + lane, params.keys - 1u)];
#endfor
    for (var head = group.y * shared_heads; head < (group.y + 1u) * shared_heads; head++) {
        for (var row = first; row < last; row++) {
            let stat = stats[row * params.heads + head];
#for n N
            var s$n = 0.0;
            var dp$n = 0.0;
#endfor
#for b B
            let q$b = qkv[row * row_size + head * $D4u + $b * $Eu + lane_at];
            let g$b = dout[(row * params.heads + head) * $D4u + $b * $Eu + lane_at];
#for e E
            {
                let q = subgroupBroadcast(q$b, $eu);
                let g = subgroupBroadcast(g$b, $eu);
#for n N
                s$n += dot(q, k[($b * $E + $e) * $N + $n]);
                dp$n += dot(g, v[($b * $E + $e) * $N + $n]);
#endfor
            }
#endfor
#endfor
#for n N
            let seen$n = row >= range$n.x && row < range$n.y;
            let p$n = select(0.0, exp(s$n - stat.x), seen$n);
            let ds$n = select(0.0, p$n * (dp$n - stat.y), seen$n);
#endfor
#for b B
#for e E
            {
                let q = subgroupBroadcast(q$b, $eu);
                let g = subgroupBroadcast(g$b, $eu);
#for n N
                a[($b * $E + $e) * $N + $n] = fma(vec4<f32>(ds$n), q, a[($b * $E + $e) * $N + $n]);
                b[($b * $E + $e) * $N + $n] = fma(vec4<f32>(p$n), g, b[($b * $E + $e) * $N + $n]);
#endfor
            }
#endfor
#endfor
        }
    }
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let key = key0 + i % $Nu * $SGu + lane;
        if key < params.keys {
            let at = key * row_size + i / $Nu;
            var dk = a[i] * params.scale;
            var dv = b[i];
            if params.accumulate != 0u {
                dk += dqkv[k_at + at];
                dv += dqkv[v_at + at];
            }
            dqkv[k_at + at] = dk;
            dqkv[v_at + at] = dv;
        }
    }
}
#else
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
#endif
