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
// variant d16_sg8: SG=8 D4=4 N=2 B=1 E=4
// variant d32_sg8: SG=8 D4=8 N=4 B=1 E=8
// variant d48_sg8: SG=8 D4=12 N=4 B=2 E=6
// variant d64_sg8: SG=8 D4=16 N=4 B=2 E=8
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
    rows: u32,
    heads: u32,
    kv_heads: u32,
    accumulate: u32,
    scale: f32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<vec4<f32>>;

#ifdef SG
// One workgroup computes dq of (N SG) queries of one kv head, N a lane, as in forward.wgsl.
@compute @workgroup_size($SG)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let shared_heads = params.heads / params.kv_heads;
    let head0 = group.y * shared_heads;
    let count = params.rows * shared_heads;
    let tiles = (count + $Nu * $SGu - 1u) / ($Nu * $SGu);
    let first_query = group.x * params.stride % tiles * $Nu * $SGu;
    let first = ranges[first_query / shared_heads].x;
    let last = ranges[(min(first_query + $Nu * $SGu, count) - 1u) / shared_heads].y;
    let row_size = (params.heads + 2u * params.kv_heads) * $D4u;
    let k_at = (params.heads + group.y) * $D4u + min(lane, $Eu - 1u);
    let v_at = k_at + params.kv_heads * $D4u;
    var q: array<vec4<f32>, $D4 * $N>;
    var g: array<vec4<f32>, $D4 * $N>;
    var a: array<vec4<f32>, $D4 * $N>;
    var deltas: array<f32, $N>;
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let query = min(first_query + i % $Nu * $SGu + lane, count - 1u);
        let row = query / shared_heads;
        let head = head0 + query % shared_heads;
        let out_at = (row * params.heads + head) * $D4u + i / $Nu;
        q[i] = qkv[row * row_size + head * $D4u + i / $Nu] * params.scale;
        g[i] = dout[out_at];
        deltas[i % $Nu] += dot(g[i], out[out_at]);
    }
#for n N
    let delta$n = deltas[$n];
    let query$n = min(first_query + $n * $SGu + lane, count - 1u);
    let range$n = ranges[query$n / shared_heads];
    let stat_at$n = query$n / shared_heads * params.heads + head0 + query$n % shared_heads;
    let lse$n = stats[stat_at$n].x;
#endfor
    for (var key = first; key < last; key++) {
#for n N
        var s$n = 0.0;
        var dp$n = 0.0;
#endfor
#for b B
        let k$b = qkv[k_at + key * row_size + $b * $Eu];
        let v$b = qkv[v_at + key * row_size + $b * $Eu];
#for e E
        {
            let k = subgroupBroadcast(k$b, $eu);
            let v = subgroupBroadcast(v$b, $eu);
#for n N
            s$n += dot(k, q[($b * $E + $e) * $N + $n]);
            dp$n += dot(v, g[($b * $E + $e) * $N + $n]);
#endfor
        }
#endfor
#endfor
#for n N
        let seen$n = key >= range$n.x && key < range$n.y;
        let ds$n = vec4<f32>(select(0.0, exp(s$n - lse$n) * (dp$n - delta$n), seen$n));
#endfor
#for b B
#for e E
        {
            let k = subgroupBroadcast(k$b, $eu);
#for n N
            a[($b * $E + $e) * $N + $n] = fma(ds$n, k, a[($b * $E + $e) * $N + $n]);
#endfor
        }
#endfor
#endfor
    }
#for n N
    if first_query + $n * $SGu + lane < count {
        stats[stat_at$n].y = delta$n;
    }
#endfor
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let query = first_query + i % $Nu * $SGu + lane;
        if query < count {
            let at = query / shared_heads * row_size + (head0 + query % shared_heads) * $D4u + i / $Nu;
            var value = a[i] * params.scale;
            if params.accumulate != 0u {
                value += dqkv[at];
            }
            dqkv[at] = value;
        }
    }
}
#else
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
#endif
