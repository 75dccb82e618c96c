// dq of attention, into the first columns of dqkv; and stats[t, h].y = delta = sum_d dout out, which the other
// gradients read. With p = exp(s - lse), s = scale q.k: ds = p (dout.v - delta), dq = scale sum_j ds_j k_j. Where q was
// turned, dq is turned back. qkv, dqkv: [T, (H + 2 K) D].
// variant d16: H=2 D4=4 C=1 N=1 J=2 L=1 HALVES
// variant d32: H=2 D4=8 C=2 N=1 J=2 L=2 HALVES
// variant d48: H=2 D4=12 C=3 N=1 J=2 L=3 HALVES
// variant d64: H=2 D4=16 C=4 N=1 J=2 L=4 HALVES
// variant d80: H=2 D4=20 C=5 N=2 J=1 L=3
// variant d96: H=2 D4=24 C=6 N=2 J=1 L=3
// variant d128: H=2 D4=32 C=8 N=2 J=1 L=4
// variant d16_small: H=1 D4=4 C=1 N=1 J=2 L=1 HALVES
// variant d32_small: H=1 D4=8 C=2 N=1 J=2 L=2 HALVES
// variant d48_small: H=1 D4=12 C=3 N=1 J=2 L=3 HALVES
// variant d64_small: H=1 D4=16 C=4 N=1 J=2 L=4 HALVES
// variant d80_small: H=1 D4=20 C=5 N=2 J=1 L=3
// variant d96_small: H=1 D4=24 C=6 N=2 J=1 L=3
// variant d128_small: H=1 D4=32 C=8 N=2 J=1 L=4
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
    scale: f32,
    accumulate: u32,
    turned: u32,
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
@group(0) @binding(7) var<storage, read> positions: array<u32>;
@group(0) @binding(8) var<storage, read> table: array<vec4<f32>>;

#import shared/turn_back.wgsl

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
#import shared/attention_backward.wgsl
#import shared/attention_tile.wgsl

// One workgroup computes dq of TILE query rows of one head, against 64 keys at a time: lanes share the work out as in
// forward.wgsl. A row's sums go key by key, so the way tiles fall on its keys changes no bit of it.
@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let across = lane % 16u;
    let down = lane / 16u;
    let head = group.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let row_size = (params.heads + 2u * params.kv_heads) * $D4u;
    let kv_at = (params.heads + kv_head) * $D4u;
    // The last rows see the most keys, so they go first.
    let row0 = ((params.rows + TILE - 1u) / TILE - 1u - group.x) * TILE;
    let last_row = min(row0 + TILE, params.rows) - 1u;
    let start = ranges[row0].x;
    let end = ranges[last_row].y;
    // A lane loads one vec4 of a chunk's keys `line` and `line` + 32, and likewise of its rows.
    let line = lane / 4u;
    let store_at = place(lane % 4u, line);
#for h H
    let line_row$h = min(row0 + line + $h * 32u, last_row);
#endfor
    // Of the keys that some row of the lane sees, the first and the one behind the last.
    let least = ranges[min(row0 + down * LANE_TILE, last_row)].x;
    let most = ranges[min(row0 + (down + 1u) * LANE_TILE - 1u, last_row)].y;
#for h H
    var lse$h = vec4<f32>();
    var delta$h = vec4<f32>();
#for e 4
#for n N
    var o$h_$e_$n = vec4<f32>();
#endfor
    {
        let row_at = min(row0 + down * LANE_TILE + $h * 4 + $e, last_row) * params.heads + head;
        lse$h[$e] = stats[row_at].x;
#for n N
        if across + $n * 16 < $D4 {
            let at = row_at * $D4u + across + $n * 16;
            delta$h[$e] += dot(dout[at], out[at]);
        }
#endfor
    }
#endfor
    pool[down * 32u + $h * 16 + across] = delta$h;
    delta$h = vec4<f32>();
#endfor
    workgroupBarrier();
#for h H
    for (var i = 0u; i < 16u; i++) {
        delta$h += pool[down * 32u + $h * 16 + i];
    }
#endfor
    for (var key0 = start; key0 < end; key0 += 64u) {
        let line_key0 = min(key0 + line, end - 1u);
        let line_key1 = min(key0 + line + 32u, end - 1u);
#for h H
        var next_q$h = load_row(0u, line_row$h, head, lane % 4u);
#endfor
        var next_k0 = load_key(0u, line_key0, kv_head, lane % 4u);
        var next_k1 = load_key(0u, line_key1, kv_head, lane % 4u);
        workgroupBarrier();
#for h H
        pool[store_at + $h * 32u] = next_q$h;
#endfor
        pool[store_at + 256u] = next_k0;
        pool[store_at + 288u] = next_k1;
        let keys = key0 + across + vec4<u32>(0u, 16u, 32u, 48u);
#for h H
#for e 4
        var s$h_$e = vec4<f32>();
        var p$h_$e = vec4<f32>();
#endfor
#endfor
        // All chunks of q k, and then all of dout v.
        for (var c = 1u; c <= 2u * $Cu; c++) {
            workgroupBarrier();
            // The next chunk is on its way while this one is multiplied.
            if c < 2u * $Cu {
#for h H
                next_q$h = load_row(c, line_row$h, head, lane % 4u);
#endfor
                next_k0 = load_key(c, line_key0, kv_head, lane % 4u);
                next_k1 = load_key(c, line_key1, kv_head, lane % 4u);
            }
            if key0 < most && key0 + 64u > least {
#import shared/attention_scores.wgsl
            }
            if c == $Cu {
#for h H
#for e 4
                {
                    let range = ranges[min(row0 + down * LANE_TILE + $h * 4 + $e, last_row)];
                    let seen = (keys >= vec4<u32>(range.x)) & (keys < vec4<u32>(range.y));
                    p$h_$e = select(vec4<f32>(), exp(s$h_$e - lse$h[$e]), seen);
                    s$h_$e = vec4<f32>();
                }
#endfor
#endfor
            }
            if c < 2u * $Cu {
                let at = c % 2u * CHUNK + store_at;
#for h H
                pool[at + $h * 32u] = next_q$h;
#endfor
                pool[at + 256u] = next_k0;
                pool[at + 288u] = next_k1;
            }
        }
        // The first keys are on their way, too.
#for w L
        var k_part$w = qkv[min(key0 + (lane + $w * LANES) / $D4, end - 1u) * row_size + kv_at
            + (lane + $w * LANES) % $D4];
#endfor
#for h H
#for e 4
        // ds
        p$h_$e *= s$h_$e - delta$h[$e];
#endfor
#endfor
        for (var first = key0; first < key0 + 64u; first += PART) {
            workgroupBarrier();
#for h H
#for j J
            pool[(across + $j * 16) * LINE + ((down * $Hu + $h) ^ (across % 8u))] =
                vec4<f32>(p$h_0[$j], p$h_1[$j], p$h_2[$j], p$h_3[$j]);
#endfor
#for e 4
#ifdef HALVES
            p$h_$e = p$h_$e.zwxy;
#else
            p$h_$e = p$h_$e.yzwx;
#endif
#endfor
#endfor
#for w L
            pool[PART * 16u + lane + $w * LANES] = k_part$w;
#endfor
            workgroupBarrier();
            if first + PART < key0 + 64u {
#for w L
                k_part$w = qkv[min(first + PART + (lane + $w * LANES) / $D4, end - 1u) * row_size + kv_at
                    + (lane + $w * LANES) % $D4];
#endfor
            }
            // Only keys that some row of the lane sees. Lanes past the last column work for nothing.
            let seen = min(max(most, first) - first, PART);
            for (var j = (max(least, first) - first) / 4u * 4u; j < seen; j += 4u) {
#for t 4
                {
#for h H
                    let ds$h = pool[(j + $t) * LINE + ((down * $Hu + $h) ^ ((j + $t) % 8u))];
#endfor
#for n N
                    let x$n = pool[PART * 16u + (j + $t) * $D4u + across + $n * 16];
#for h H
#for e 4
                    o$h_$e_$n = fma(vec4<f32>(ds$h[$e]), x$n, o$h_$e_$n);
#endfor
#endfor
#endfor
                }
#endfor
            }
        }
    }
#for h H
#for e 4
    {
        let row = row0 + down * LANE_TILE + $h * 4 + $e;
        if row <= last_row {
            if across == $h * 4 + $e {
                stats[row * params.heads + head].y = delta$h[$e];
            }
#for n N
            if across + $n * 16 < $D4 {
                let at = row * row_size + head * $D4u + across + $n * 16;
                o$h_$e_$n = turn_back(o$h_$e_$n * params.scale, row, across + $n * 16, $D4u);
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
