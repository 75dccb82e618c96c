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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

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
        out[at + $du] = o$d / l;
#endfor
        stats[row * params.heads + head] = vec2<f32>(m + log(l), 0.0);
    }
}
