// Causal grouped-query attention, a tile of keys at a time (Dao et al. 2022, arXiv:2205.14135): no T x T matrix exists.
// out: [T, H * D]; q, k and v are ranges of columns of their bindings; ranges[t]: the keys row t may see, [start, end);
// of those a window leaves the last; stats: [T, H] of (log-sum-exp, 0). Starts and ends never decrease with t, as packing lays segments one after the
// other.
// variant d16: H=2 D4=4 C=1 N=1 J=2 L=1 HALVES
// variant d32: H=2 D4=8 C=2 N=1 J=2 L=2 HALVES
// variant d48: H=2 D4=12 C=3 N=1 J=2 L=3 HALVES
// variant d64: H=2 D4=16 C=4 N=1 J=2 L=4 HALVES
// variant d80: H=2 D4=20 C=5 N=2 J=1 L=3
// variant d96: H=2 D4=24 C=6 N=2 J=1 L=3
// variant d128: H=2 D4=32 C=8 N=2 J=1 L=4
// variant d256: H=2 D4=64 C=16 N=2 J=1 L=4
// variant d16_small: H=1 D4=4 C=1 N=1 J=2 L=1 HALVES
// variant d32_small: H=1 D4=8 C=2 N=1 J=2 L=2 HALVES
// variant d48_small: H=1 D4=12 C=3 N=1 J=2 L=3 HALVES
// variant d64_small: H=1 D4=16 C=4 N=1 J=2 L=4 HALVES
// variant d80_small: H=1 D4=20 C=5 N=2 J=1 L=3
// variant d96_small: H=1 D4=24 C=6 N=2 J=1 L=3
// variant d128_small: H=1 D4=32 C=8 N=2 J=1 L=4
// variant d256_small: H=1 D4=64 C=16 N=2 J=1 L=4
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
    // In vec4: from row to row of q, and of k and v; where k and v start.
    q_row: u32,
    kv_row: u32,
    k_at: u32,
    v_at: u32,
    scale: f32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
    // Keys that a row sees at most: the last of those in its range.
    window: u32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> ranges: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2<f32>>;

#import shared/soft_cap.wgsl

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
const MASKED = -1e30;
// Keys between two changes of what the exponentials are relative to.
const TILE = 32u;

// One workgroup, a subgroup, computes (N SG) queries of one kv head, N a lane: query i is row i / S of the (i % S)-th
// of the S heads that share it. E lanes load a key, as B vec4 each, and all ask them for it. Queries and sums are too
// many for registers, so they are arrays; loops too long to unroll go over all of each, which keeps it in memory from
// the start. Of a head of 256 a block is unrolled at a time (ROLLED), and N is 2: with 1, Mesa unrolls those loops and takes
// five minutes to compile this.
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
        // Segment by segment, so that tiles start where a row's keys do: a row is the same wherever packing puts it. To
        // the rows of other segments the keys are masked, which changes no bit of theirs.
        let start = ranges[row].x;
        let first = start + (first_seen(ranges[row]) - start) / TILE * TILE;
        var end = ranges[row].y;
        for (row++; row <= last_row && ranges[row].x == start; row++) {
            end = ranges[row].y;
        }
        for (var key0 = first; key0 < end; key0 += TILE) {
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
#ifdef ROLLED
                for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
                let k$b = k[params.k_at + key * params.kv_row + block + $b * $Eu + lane_at];
#for e E
                {
                    let y = subgroupBroadcast(k$b, $eu);
#for n N
                    s$n += dot(y, x[(block + $b * $E + $e) * $N + $n]);
#endfor
                }
#endfor
#endfor
#ifdef ROLLED
                }
#endif
#for n N
                let seen$n = key >= range$n.x && key < range$n.y && key + params.window >= range$n.y;
                s$n = select(MASKED, capped(s$n), seen$n);
                top$n = max(top$n, s$n);
                scores[j * $Nu + $n] = s$n;
#endfor
            }
#for n N
            let f$n = select(exp(m$n - top$n), 1.0, m$n == top$n);
            m$n = top$n;
            l$n *= f$n;
#ifdef ROLLED
            for (var d = 0u; d < $D4u; d++) {
                o[d * $Nu + $nu] *= f$n;
            }
#else
#for d D4
            o[$d * $N + $n] *= f$n;
#endfor
#endif
#endfor
            for (var j = 0u; j < keys; j++) {
#for n N
                let s$n = scores[j * $Nu + $n];
                let p$n = select(0.0, exp(s$n - m$n), s$n > MASKED);
                l$n += p$n;
#endfor
#ifdef ROLLED
                for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
                let v$b = v[params.v_at + (key0 + j) * params.kv_row + block + $b * $Eu + lane_at];
#for e E
                {
                    let y = subgroupBroadcast(v$b, $eu);
#for n N
                    o[(block + $b * $E + $e) * $N + $n] = fma(vec4<f32>(p$n), y, o[(block + $b * $E + $e) * $N + $n]);
#endfor
                }
#endfor
#endfor
#ifdef ROLLED
                }
#endif
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
#import attention/pool.wgsl
#import attention/tile.wgsl
#import attention/columns.wgsl

// Keys whose weights are in memory at a time.
const PART = 16u * $Ju;
const MASKED = -1e30;

// One workgroup computes COLUMNS of TILE query rows of one head, against 64 keys at a time: a lane has the scores of LANE_TILE
// rows that lie side by side and 4 keys, 16 apart, and then as many rows of N vec4 of the result, 16 apart. The weights
// go through memory of the workgroup, those of PART keys at a time.
@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let across = lane % 16u;
    let down = lane / 16u;
    let head = group.y;
    let kv_at = head / (params.heads / params.kv_heads) * $D4u;
    let column0 = group.z * COLUMNS;
    // The last rows see the most keys, so they go first.
    let row0 = ((params.rows + TILE - 1u) / TILE - 1u - group.x) * TILE;
    let last_row = min(row0 + TILE, params.rows) - 1u;
    // A lane loads one vec4 of a chunk's keys `line` and `line` + 32, and likewise of its rows.
    let line = lane / 4u;
    let store_at = place(lane % 4u, line);
#for h H
    let q_at$h = min(row0 + line + $h * 32u, last_row) * params.q_row + head * $D4u + lane % 4u;
    var m$h = vec4<f32>(MASKED);
    // The sum of the lane's own keys alone.
    var l$h = vec4<f32>();
#for e 4
#for n N
    var o$h_$e_$n = vec4<f32>();
#endfor
#endfor
#endfor
    var row = row0;
    while row <= last_row {
        // Segment by segment, so that tiles start where a row's keys do: a row is the same wherever packing puts it. To
        // the rows of other segments the keys are masked, which changes no bit of theirs.
        let start = ranges[row].x;
        let first_key = start + (first_seen(ranges[row]) - start) / 64u * 64u;
        if ranges[last_row].x == start {
            row = last_row;
        }
        var end = ranges[row].y;
        for (row++; row <= last_row && ranges[row].x == start; row++) {
            end = ranges[row].y;
        }
        // The lane's rows see the keys before these.
        var most = 0u;
#for h H
        var limit$h = vec4<u32>();
#for e 4
        {
            let range = ranges[min(row0 + down * LANE_TILE + $h * 4 + $e, last_row)];
            limit$h[$e] = select(0u, range.y, range.x == start);
            most = max(most, limit$h[$e]);
        }
#endfor
#endfor
        for (var key0 = first_key; key0 < end; key0 += 64u) {
            let k_at0 = params.k_at + min(key0 + line, end - 1u) * params.kv_row + kv_at + lane % 4u;
            let k_at1 = params.k_at + min(key0 + line + 32u, end - 1u) * params.kv_row + kv_at + lane % 4u;
#for h H
            var next_q$h = q[q_at$h];
#endfor
            var next_k0 = k[k_at0];
            var next_k1 = k[k_at1];
            workgroupBarrier();
#for h H
            pool[store_at + $h * 32u] = next_q$h * params.scale;
#endfor
            pool[store_at + 256u] = next_k0;
            pool[store_at + 288u] = next_k1;
            // Of each row the scores of the lane's four keys.
#for h H
#for e 4
            var s$h_$e = vec4<f32>();
#endfor
#endfor
            for (var c = 1u; c <= $Cu; c++) {
                workgroupBarrier();
                // The next chunk is on its way while this one is multiplied.
                if c < $Cu {
#for h H
                    next_q$h = q[q_at$h + c * 4u];
#endfor
                    next_k0 = k[k_at0 + c * 4u];
                    next_k1 = k[k_at1 + c * 4u];
                }
                if key0 < most {
#import attention/scores.wgsl
                }
                if c < $Cu {
                    let at = c % 2u * CHUNK + store_at;
#for h H
                    pool[at + $h * 32u] = next_q$h * params.scale;
#endfor
                    pool[at + 256u] = next_k0;
                    pool[at + 288u] = next_k1;
                }
            }
            // The first values are on their way, too.
#for w L
            var v$w = v[params.v_at + min(key0 + (lane + $w * LANES) / COLUMNS, end - 1u) * params.kv_row + kv_at
                + column0 + (lane + $w * LANES) % COLUMNS];
#endfor
            // The rows' maxima, where the chunk before the last one was.
            let keys = key0 + across + vec4<u32>(0u, 16u, 32u, 48u);
            let top_at = $Cu % 2u * CHUNK + down * 32u;
#for h H
            var top$h = vec4<f32>();
#for e 4
            if params.cap > 0.0 {
                s$h_$e = vec4<f32>(capped(s$h_$e.x), capped(s$h_$e.y), capped(s$h_$e.z), capped(s$h_$e.w));
            }
            s$h_$e = select(vec4<f32>(MASKED), s$h_$e, (keys < vec4<u32>(limit$h[$e]))
                & (keys + params.window >= vec4<u32>(limit$h[$e])));
            top$h[$e] = max(max(s$h_$e.x, s$h_$e.y), max(s$h_$e.z, s$h_$e.w));
#endfor
            pool[top_at + $h * 16 + across] = top$h;
#endfor
            workgroupBarrier();
#for h H
            top$h = m$h;
            for (var i = 0u; i < 16u; i++) {
                top$h = max(top$h, pool[top_at + $h * 16 + i]);
            }
            let f$h = select(exp(m$h - top$h), vec4<f32>(1.0), m$h == top$h);
            m$h = top$h;
            l$h *= f$h;
#for e 4
            s$h_$e = select(vec4<f32>(), exp(s$h_$e - m$h[$e]), s$h_$e > vec4<f32>(MASKED));
            l$h[$e] += (s$h_$e.x + s$h_$e.y) + (s$h_$e.z + s$h_$e.w);
#for n N
            o$h_$e_$n *= f$h[$e];
#endfor
#endfor
#endfor
            for (var first = key0; first < key0 + 64u; first += PART) {
                workgroupBarrier();
                // Weights as [key][row]; again no two lanes side by side in one bank.
#for h H
#for j J
                pool[(across + $j * 16) * LINE + ((down * $Hu + $h) ^ (across % 8u))] =
                    vec4<f32>(s$h_0[$j], s$h_1[$j], s$h_2[$j], s$h_3[$j]);
#endfor
#for e 4
#ifdef HALVES
                s$h_$e = s$h_$e.zwxy;
#else
                s$h_$e = s$h_$e.yzwx;
#endif
#endfor
#endfor
#for w L
                pool[PART * 16u + lane + $w * LANES] = v$w;
#endfor
                workgroupBarrier();
                if first + PART < key0 + 64u {
#for w L
                    v$w = v[params.v_at + min(first + PART + (lane + $w * LANES) / COLUMNS, end - 1u) * params.kv_row
                        + kv_at + column0 + (lane + $w * LANES) % COLUMNS];
#endfor
                }
                // None for keys that no row of the lane sees. Lanes past the last column work for nothing.
                let seen = min(max(most, first) - first, PART);
                for (var j = 0u; j < seen; j += 4u) {
#for t 4
                    {
#for h H
                        let p$h = pool[(j + $t) * LINE + ((down * $Hu + $h) ^ ((j + $t) % 8u))];
#endfor
#for n N
                        let x$n = pool[PART * 16u + (j + $t) * COLUMNS + across + $n * 16];
#for h H
#for e 4
                        o$h_$e_$n = fma(vec4<f32>(p$h[$e]), x$n, o$h_$e_$n);
#endfor
#endfor
#endfor
                    }
#endfor
                }
            }
        }
    }
    workgroupBarrier();
#for h H
    pool[down * 32u + $h * 16 + across] = l$h;
    var sum$h = vec4<f32>();
#endfor
    workgroupBarrier();
#for h H
    for (var i = 0u; i < 16u; i++) {
        sum$h += pool[down * 32u + $h * 16 + i];
    }
    // 0 where there is no key.
    sum$h = max(sum$h, vec4<f32>(1e-30));
    let stat$h = m$h + log(sum$h);
#for e 4
    {
        let row = row0 + down * LANE_TILE + $h * 4 + $e;
        if row <= last_row {
            if across == $h * 4 + $e && column0 == 0u {
                stats[row * params.heads + head] = vec2<f32>(stat$h[$e], 0.0);
            }
#for n N
            if across + $n * 16 < COLUMNS {
                out[(row * params.heads + head) * $D4u + column0 + across + $n * 16] = o$h_$e_$n / sum$h[$e];
            }
#endfor
        }
    }
#endfor
#endfor
}
#endif
