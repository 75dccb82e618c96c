// Causal grouped-query attention, a tile of keys at a time (Dao et al. 2022, arXiv:2205.14135): no T x T matrix exists.
// out: [T, H * D]; q, k and v are ranges of columns of their bindings; ranges[t]: the keys row t may see, [start, end); stats: [T, H] of
// (log-sum-exp, 0). Starts and ends never decrease with t, as packing lays segments one after the other.
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
    // In vec4: from row to row of q, and of k and v; where k and v start.
    q_row: u32,
    kv_row: u32,
    k_at: u32,
    v_at: u32,
    scale: f32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

#ifdef SG
const MASKED = -1e30;
// Keys between two changes of what the exponentials are relative to.
const TILE = 32u;

// One workgroup, a subgroup, computes (N SG) queries of one kv head, N a lane: query i is row i / S of the (i % S)-th of the
// S heads that share it. E lanes load a key, as B vec4 each, and all ask them for it. Queries and sums are too many for
// registers, so they are arrays; loops too long to unroll go over all of each, which keeps it in memory from the start.
@compute @workgroup_size($SG)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let shared_heads = params.heads / params.kv_heads;
    let head0 = group.y * shared_heads;
    let count = params.rows * shared_heads;
    let tiles = (count + $Nu * $SGu - 1u) / ($Nu * $SGu);
    let first_query = group.x * params.stride % tiles * $Nu * $SGu;
    let lane_at = group.y * $D4u + min(lane, $Eu - 1u);
    var x: array<vec4<f32>, $D4 * $N>;
    var o: array<vec4<f32>, $D4 * $N>;
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let query = min(first_query + i % $Nu * $SGu + lane, count - 1u);
        let head = head0 + query % shared_heads;
        x[i] = q[query / shared_heads * params.q_row + head * $D4u + i / $Nu] * params.scale;
    }
#for n N
    let range$n = ranges[min(first_query + $n * $SGu + lane, count - 1u) / shared_heads];
    var m$n = MASKED;
    var l$n = 0.0;
#endfor
    var row = first_query / shared_heads;
    let last_row = (min(first_query + $Nu * $SGu, count) - 1u) / shared_heads;
    while row <= last_row {
        // Segment by segment, so that tiles start where a row's keys do: a row is the same wherever packing puts it. To the
        // rows of other segments the keys are masked, which changes no bit of theirs.
        let start = ranges[row].x;
        var end = ranges[row].y;
        for (row++; row <= last_row && ranges[row].x == start; row++) {
            end = ranges[row].y;
        }
        for (var key0 = start; key0 < end; key0 += TILE) {
            let keys = min(TILE, end - key0);
            var scores: array<f32, 32 * $N>;
#for n N
            var top$n = m$n;
#endfor
            for (var j = 0u; j < keys; j++) {
                let key = key0 + j;
#for n N
                var s$n = 0.0;
#endfor
#for b B
                let k$b = k[params.k_at + key * params.kv_row + $b * $Eu + lane_at];
#for e E
                {
                    let y = subgroupBroadcast(k$b, $eu);
#for n N
                    s$n += dot(y, x[($b * $E + $e) * $N + $n]);
#endfor
                }
#endfor
#endfor
#for n N
                s$n = select(MASKED, s$n, key >= range$n.x && key < range$n.y);
                top$n = max(top$n, s$n);
                scores[j * $Nu + $n] = s$n;
#endfor
            }
#for n N
            let f$n = select(exp(m$n - top$n), 1.0, m$n == top$n);
            m$n = top$n;
            l$n *= f$n;
#for d D4
            o[$d * $N + $n] *= f$n;
#endfor
#endfor
            for (var j = 0u; j < keys; j++) {
#for n N
                let s$n = scores[j * $Nu + $n];
                let p$n = select(0.0, exp(s$n - m$n), s$n > MASKED);
                l$n += p$n;
#endfor
#for b B
                let v$b = v[params.v_at + (key0 + j) * params.kv_row + $b * $Eu + lane_at];
#for e E
                {
                    let y = subgroupBroadcast(v$b, $eu);
#for n N
                    o[($b * $E + $e) * $N + $n] = fma(vec4<f32>(p$n), y, o[($b * $E + $e) * $N + $n]);
#endfor
                }
#endfor
#endfor
            }
        }
    }
    var sums: array<f32, $N>;
#for n N
    // 0 where there is no key.
    sums[$n] = max(l$n, 1e-30);
    if first_query + $n * $SGu + lane < count {
        let query = first_query + $n * $SGu + lane;
        let head = head0 + query % shared_heads;
        stats[query / shared_heads * params.heads + head] = vec2<f32>(m$n + log(sums[$n]), 0.0);
    }
#endfor
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let query = first_query + i % $Nu * $SGu + lane;
        if query < count {
            let head = head0 + query % shared_heads;
            out[(query / shared_heads * params.heads + head) * $D4u + i / $Nu] = o[i] / sums[i % $Nu];
        }
    }
}
#else
const ROWS = 32u;
const KEYS = 8u;
const MASKED = -1e30;
var<workgroup> k_tile: array<vec4<f32>, $D4 * 8>;
var<workgroup> v_tile: array<vec4<f32>, $D4 * 8>;

// One workgroup computes 32 query rows of one head, a row a lane; tiles of 8 keys and values are shared.
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let row = min(group.x * ROWS + lane, params.rows - 1u);
    let range = ranges[row];
    let first = ranges[group.x * ROWS].x;
    let last = ranges[min(group.x * ROWS + ROWS, params.rows) - 1u].y;
    let at = (row * params.heads + head) * $D4u;
    let q_at = row * params.q_row + head * $D4u;
#for d D4
    let q$d = q[q_at + $du] * params.scale;
    var o$d = vec4<f32>();
#endfor
    // The largest score first and then the sums, key by key: the way tiles fall on a row's keys changes no bit of it, so
    // a row is the same wherever packing puts it.
    var m = MASKED;
    for (var key0 = first; key0 < last; key0 += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * $D4u; i += ROWS) {
            let key = min(key0 + i / $D4u, last - 1u);
            k_tile[i] = k[params.k_at + key * params.kv_row + kv_head * $D4u + i % $D4u];
        }
        workgroupBarrier();
        // The keys go in a loop and not in a row of copies: unrolled, software adapters take minutes to compile this.
        for (var j = 0u; j < KEYS; j++) {
            let base = j * $D4u;
            var s = 0.0;
#for d D4
            s += dot(q$d, k_tile[base + $du]);
#endfor
            m = max(m, select(MASKED, s, key0 + j >= range.x && key0 + j < range.y));
        }
    }
    var l = 0.0;
    for (var key0 = first; key0 < last; key0 += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * $D4u; i += ROWS) {
            let key = min(key0 + i / $D4u, last - 1u);
            let source = key * params.kv_row + kv_head * $D4u + i % $D4u;
            k_tile[i] = k[params.k_at + source];
            v_tile[i] = v[params.v_at + source];
        }
        workgroupBarrier();
        for (var j = 0u; j < KEYS; j++) {
            let base = j * $D4u;
            var s = 0.0;
#for d D4
            s += dot(q$d, k_tile[base + $du]);
#endfor
            let seen = key0 + j >= range.x && key0 + j < range.y;
            let p = select(0.0, exp(s - m), seen);
            l += p;
#for d D4
            o$d = fma(vec4<f32>(p), v_tile[base + $du], o$d);
#endfor
        }
    }
    if group.x * ROWS + lane < params.rows {
#for d D4
        out[at + $du] = o$d / max(l, 1e-30);
#endfor
        stats[row * params.heads + head] = vec2<f32>(m + log(max(l, 1e-30)), 0.0);
    }
}
#endif
