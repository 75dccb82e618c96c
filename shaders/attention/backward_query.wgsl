// dq of attention, into the first columns of dqkv. With p = exp(s - lse), s = scale q.k, delta = sum_d dout out:
// ds = p (dout.v - delta), dq = scale sum_j ds_j k_j. Where q was turned, dq is turned back. With subgroups this goes
// first, and leaves delta in stats[t, h].y to backward_key_value.wgsl; without, that has kept ds. qkv, dqkv:
// [T, (H + 2 K) D].
// variant d16: H=2 D4=4 N=1 P=16 W=2 L=1
// variant d32: H=2 D4=8 N=1 P=16 W=2 L=1
// variant d48: H=2 D4=12 N=1 P=16 W=2 L=2
// variant d64: H=2 D4=16 N=1 P=16 W=2 L=2
// variant d80: H=2 D4=20 N=2 P=8 W=1 L=2
// variant d96: H=2 D4=24 N=2 P=8 W=1 L=2
// variant d128: H=2 D4=32 N=2 P=8 W=1 L=2
// variant d256: H=2 D4=64 N=2 P=8 W=1 L=2
// variant d16_small: H=1 D4=4 N=1 P=16 W=1 L=1
// variant d32_small: H=1 D4=8 N=1 P=16 W=1 L=1
// variant d48_small: H=1 D4=12 N=1 P=16 W=1 L=2
// variant d64_small: H=1 D4=16 N=1 P=16 W=1 L=2
// variant d80_small: H=1 D4=20 N=2 P=8 W=1 L=2
// variant d96_small: H=1 D4=24 N=2 P=8 W=1 L=2
// variant d128_small: H=1 D4=32 N=2 P=8 W=1 L=2
// variant d256_small: H=1 D4=64 N=2 P=8 W=1 L=2
// variant d16_sg8: SG=8 D4=4 N=2 B=1 E=4
// variant d32_sg8: SG=8 D4=8 N=4 B=1 E=8
// variant d48_sg8: SG=8 D4=12 N=4 B=2 E=6
// variant d64_sg8: SG=8 D4=16 N=4 B=2 E=8
// variant d80_sg8: SG=8 D4=20 N=2 B=4 E=5
// variant d96_sg8: SG=8 D4=24 N=2 B=3 E=8
// variant d128_sg8: SG=8 D4=32 N=2 B=4 E=8
// variant d256_sg8: SG=8 D4=64 N=2 B=2 E=8 ROLLED
// variant d16_sg4: SG=4 D4=4 N=2 B=1 E=4
// variant d32_sg4: SG=4 D4=8 N=4 B=2 E=4
// variant d48_sg4: SG=4 D4=12 N=4 B=3 E=4
// variant d64_sg4: SG=4 D4=16 N=4 B=4 E=4
// variant d80_sg4: SG=4 D4=20 N=2 B=5 E=4
// variant d96_sg4: SG=4 D4=24 N=2 B=6 E=4
// variant d128_sg4: SG=4 D4=32 N=2 B=8 E=4
// variant d256_sg4: SG=4 D4=64 N=2 B=4 E=4 ROLLED

struct Params {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
    accumulate: u32,
    turned: u32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
    // Without: the first key that was kept, a multiple of 64, and the one behind the last; the tiles of 64 rows from the
    // first key on, and those that a head keeps.
    first: u32,
    last: u32,
    row_tiles: u32,
    kept: u32,
    // Keys that a row sees at most: the last of those in its range.
    window: u32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<vec4<f32>>;
#ifdef SG
@group(0) @binding(6) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> stats: array<vec2<f32>>;
#else
@group(0) @binding(6) var<storage, read> ds: array<vec4<f32>>;
#endif

#import attention/turn_back.wgsl

// The first key that a row of this range sees.
fn first_seen(range: vec2<u32>) -> u32 {
    return max(range.x, range.y - min(range.y, params.window));
}

#ifdef SG
#ifdef ROLLED
#else
// The vec4 of a head from which a loop is unrolled: all at once.
const block = 0u;
#endif
#import shared/soft_cap.wgsl

// One workgroup computes dq of (N SG) queries of one kv head, N a lane, as in forward.wgsl.
@compute @workgroup_size($SG)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let shared_heads = params.heads / params.kv_heads;
    let head0 = group.y * shared_heads;
    let count = params.rows * shared_heads;
    let tiles = (count + $Nu * $SGu - 1u) / ($Nu * $SGu);
    let first_query = group.x * params.stride % tiles * $Nu * $SGu;
    let first = first_seen(ranges[first_query / shared_heads]);
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
    let last$n = ranges[query$n / shared_heads].y;
    let first$n = first_seen(ranges[query$n / shared_heads]);
    let stat_at$n = query$n / shared_heads * params.heads + head0 + query$n % shared_heads;
    let lse$n = stats[stat_at$n].x;
#endfor
    for (var key = first; key < last; key++) {
#for n N
        var s$n = 0.0;
        var dp$n = 0.0;
#endfor
#ifdef ROLLED
        for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
        let k$b = qkv[k_at + key * row_size + block + $b * $Eu];
        let v$b = qkv[v_at + key * row_size + block + $b * $Eu];
#for e E
        {
            let k = subgroupBroadcast(k$b, $eu);
            let v = subgroupBroadcast(v$b, $eu);
#for n N
            s$n += dot(k, q[(block + $b * $E + $e) * $N + $n]);
            dp$n += dot(v, g[(block + $b * $E + $e) * $N + $n]);
#endfor
        }
#endfor
#endfor
#ifdef ROLLED
        }
#endif
#for n N
        let seen$n = key >= first$n && key < last$n;
        let s_capped$n = capped(s$n);
        let slope$n = capped_slope(s_capped$n);
        let ds$n = vec4<f32>(select(0.0, exp(s_capped$n - lse$n) * (dp$n - delta$n) * slope$n, seen$n));
#endfor
#ifdef ROLLED
        for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
#ifdef ROLLED
        let k$b = qkv[k_at + key * row_size + block + $b * $Eu];
#endif
#for e E
        {
            let k = subgroupBroadcast(k$b, $eu);
#for n N
            a[(block + $b * $E + $e) * $N + $n] = fma(ds$n, k, a[(block + $b * $E + $e) * $N + $n]);
#endfor
        }
#endfor
#endfor
#ifdef ROLLED
        }
#endif
    }
#for n N
    if first_query + $n * $SGu + lane < count {
        stats[stat_at$n].y = delta$n;
    }
#endfor
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let query = first_query + i % $Nu * $SGu + lane;
        if query < count {
            let row = query / shared_heads;
            let at = row * row_size + (head0 + query % shared_heads) * $D4u + i / $Nu;
            var value = turn_back(a[i] * params.scale, row, i / $Nu, $D4u);
            if params.accumulate != 0u {
                value += dqkv[at];
            }
            dqkv[at] = value;
        }
    }
}
#else
#import attention/kept.wgsl
#import attention/columns.wgsl

const LANES = 128u;
// Vec4 of rows that a workgroup has for each key.
const LINE = 8u * $Hu;
// Vec4 of a key, in whole lanes.
const WIDTH = 16u * $Nu;
// P keys, by turns in two places: their weights, and the keys themselves.
const PLACE = $Pu * (LINE + WIDTH);
var<workgroup> pool: array<vec4<f32>, 2 * $P * 8 * ($H + 2 * $N)>;

// Vec4 i of the keys from `key` on, which are whole there; lanes behind them load the last.
fn load_part(key: u32, last: u32, kv_head: u32, column0: u32, i: u32) -> vec4<f32> {
    let at = min(i, $Pu * COLUMNS - 1u);
    let row = min(key + at / COLUMNS, last - 1u);
    let head_at = (row * (params.heads + 2u * params.kv_heads) + params.heads + kv_head) * $D4u;
    return qkv[head_at + column0 + at % COLUMNS];
}

// One workgroup computes COLUMNS of dq of 64 rows of one head, or of half of them: a lane has 4 H rows, 16 apart, of N vec4, 16
// apart. A row's sum goes key by key.
@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let across = lane % 16u;
    let down = lane / 16u;
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let column0 = group.z * COLUMNS;
    // The last rows see the most keys, so they go first.
    let tile = params.row_tiles - 1u - group.x * $Hu / 2u;
    let row0 = params.first + tile * 64u;
    let last_row = min(row0 + 64u, params.rows) - 1u;
    let end = min(ranges[last_row].y, params.last);
    // A lane loads the weights of the same rows for every key.
    let half = group.x % (3u - $Hu) * 8u;
    let weight_rows = row0 + half + lane % LINE + vec4<u32>(0u, 16u, 32u, 48u);
    var seen_from = vec4<u32>();
    var seen_to = vec4<u32>();
#for e 4
    {
        let range = ranges[min(weight_rows[$e], last_row)];
        seen_from[$e] = first_seen(range);
        seen_to[$e] = range.y;
    }
#endfor
#for h H
#for e 4
#for n N
    var o$h_$e_$n = vec4<f32>();
#endfor
#endfor
#endfor
    let start = max(first_seen(ranges[row0]), params.first) / $Pu * $Pu;
    var place = 0u;
    for (var key0 = start;; key0 += $Pu) {
        // A part is on its way while the one before is multiplied.
#for w W
        var weights$w = vec4<f32>();
#endfor
#for w L
        var k$w = vec4<f32>();
#endfor
        if key0 < end {
            let tile_at = kept_tile(head, key0 / 64u, params.first / 64u + tile) + half + lane % LINE;
#for w W
            weights$w = ds[tile_at + (key0 % 64u + min(lane / LINE + $w * (LANES / LINE), $Pu - 1u)) * 16u];
#endfor
#for w L
            k$w = load_part(key0, end, kv_head, column0, lane + $w * LANES);
#endfor
        }
        if key0 > start {
            for (var j = 0u; j < $Pu; j += 4u) {
#for t 4
                {
#for h H
                    let ds$h = pool[place + (j + $t) * LINE + down * $Hu + $h];
#endfor
#for n N
                    let x$n = pool[place + $Pu * LINE + (j + $t) * WIDTH + across + $n * 16];
#for h H
#for e 4
                    o$h_$e_$n = fma(vec4<f32>(ds$h[$e]), x$n, o$h_$e_$n);
#endfor
#endfor
#endfor
                }
#endfor
            }
            place = PLACE - place;
        }
        if key0 >= end {
            break;
        }
#for w W
        {
            // What no one has kept is not zero.
            let key = vec4<u32>(key0 + lane / LINE + $w * (LANES / LINE));
            let seen = (key >= seen_from) & (key < seen_to);
            if lane + $w * LANES < $Pu * LINE {
                pool[place + lane + $w * LANES] = select(vec4<f32>(), weights$w, seen);
            }
        }
#endfor
#for w L
        {
            let i = lane + $w * LANES;
            if i < $Pu * COLUMNS {
                pool[place + $Pu * LINE + i / COLUMNS * WIDTH + i % COLUMNS] = k$w;
            }
        }
#endfor
        workgroupBarrier();
    }
#for h H
#for e 4
    {
        let row = row0 + half + down * $Hu + $h + $e * 16;
        if row <= last_row {
#for n N
            if across + $n * 16 < COLUMNS {
                let i = column0 + across + $n * 16;
                let at = (row * (params.heads + 2u * params.kv_heads) + head) * $D4u + i;
                o$h_$e_$n = turn_back(o$h_$e_$n * params.scale, row, i, $D4u);
                if params.accumulate != 0u {
                    o$h_$e_$n += dqkv[at];
                }
                dqkv[at] = o$h_$e_$n;
            }
#endfor
        }
    }
#endfor
#endfor
}
#endif
