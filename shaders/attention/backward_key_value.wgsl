// dk and dv of attention: dv_j = sum_i p_ij dout_i, dk_j = scale sum_i ds_ij q_i, over the rows i that see key j and
// over the query heads that share its head. key_ranges[j]: the rows that see key j, [start, end), of which a window leaves
// the first.
// qkv: [T, (H + 2 K) D]; parts: [keys, 2 K D], which add_parts.wgsl puts in their place. Without subgroups each query
// head and each `split` of the rows has a part, [splits, keys, 2 H D], which makes more workgroups, and ds is kept for
// backward_query.wgsl.
// variant d16: H=2 D4=4 C=1 N=1 L=1
// variant d32: H=2 D4=8 C=2 N=1 L=2
// variant d48: H=2 D4=12 C=3 N=2 L=3
// variant d64: H=2 D4=16 C=4 N=2 L=4
// variant d16_small: H=1 D4=4 C=1 N=1 L=1
// variant d32_small: H=1 D4=8 C=2 N=1 L=2
// variant d48_small: H=1 D4=12 C=3 N=2 L=3
// variant d64_small: H=1 D4=16 C=4 N=2 L=4
// variant d80_small: H=1 D4=20 C=5 N=3 L=5
// variant d96_small: H=1 D4=24 C=6 N=3 L=6
// variant d128_small: H=1 D4=32 C=8 N=4 L=4 HALVES
// variant d256_small: H=1 D4=64 C=16 N=4 L=4 HALVES
// variant d16_sg8: SG=8 D4=4 N=2 B=1 E=4
// variant d32_sg8: SG=8 D4=8 N=4 B=1 E=8
// variant d48_sg8: SG=8 D4=12 N=4 B=2 E=6
// variant d64_sg8: SG=8 D4=16 N=2 B=2 E=8
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
    keys: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
    // With subgroups: by which the tiles are visited.
    stride: u32,
    // Without: the first of the keys, a multiple of 64, and the one behind the last; the tiles of 64 rows from there on,
    // and those that a head keeps; of the rows behind the first key, what one workgroup takes: a multiple of 64.
    first: u32,
    last: u32,
    row_tiles: u32,
    kept: u32,
    split: u32,
    // Keys that a row sees at most: the last of those in its range.
    window: u32,
    cap: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key_ranges: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4<f32>>;
#ifdef H
@group(0) @binding(6) var<storage, read> out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> ds: array<vec4<f32>>;
#endif

#import shared/soft_cap.wgsl

// The rows that see a key.
fn rows_of(key: u32) -> vec2<u32> {
    let range = key_ranges[key];
    return vec2<u32>(range.x, max(range.x, min(range.y, key + params.window)));
}

#ifdef SG
#ifdef ROLLED
#else
// The vec4 of a head from which a loop is unrolled: all at once.
const block = 0u;
#endif
// One workgroup computes dk and dv for (N SG) keys of one kv head, N a lane, all in arrays as in forward.wgsl. E lanes
// load a query row, as B vec4 each, and all ask them for it.
@compute @workgroup_size($SG)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let shared_heads = params.heads / params.kv_heads;
    let tiles = (params.keys + $Nu * $SGu - 1u) / ($Nu * $SGu);
    let key0 = group.x * params.stride % tiles * $Nu * $SGu;
    let first = rows_of(key0).x;
    let last = rows_of(min(key0 + $Nu * $SGu, params.keys) - 1u).y;
    let row_size = (params.heads + 2u * params.kv_heads) * $D4u;
    let k_at = (params.heads + group.y) * $D4u;
    let v_at = k_at + params.kv_heads * $D4u;
    let lane_at = min(lane, $Eu - 1u);
    var k: array<vec4<f32>, $D4 * $N>;
    var v: array<vec4<f32>, $D4 * $N>;
    var of_k: array<vec4<f32>, $D4 * $N>;
    var of_v: array<vec4<f32>, $D4 * $N>;
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let at = min(key0 + i % $Nu * $SGu + lane, params.keys - 1u) * row_size + i / $Nu;
        k[i] = qkv[k_at + at] * params.scale;
        v[i] = qkv[v_at + at];
    }
#for n N
    let range$n = rows_of(min(key0 + $n * $SGu + lane, params.keys - 1u));
#endfor
    for (var head = group.y * shared_heads; head < (group.y + 1u) * shared_heads; head++) {
        for (var row = first; row < last; row++) {
            let stat = stats[row * params.heads + head];
#for n N
            var s$n = 0.0;
            var dp$n = 0.0;
#endfor
#ifdef ROLLED
            for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
            let q$b = qkv[row * row_size + head * $D4u + block + $b * $Eu + lane_at];
            let g$b = dout[(row * params.heads + head) * $D4u + block + $b * $Eu + lane_at];
#for e E
            {
                let q = subgroupBroadcast(q$b, $eu);
                let g = subgroupBroadcast(g$b, $eu);
#for n N
                s$n += dot(q, k[(block + $b * $E + $e) * $N + $n]);
                dp$n += dot(g, v[(block + $b * $E + $e) * $N + $n]);
#endfor
            }
#endfor
#endfor
#ifdef ROLLED
            }
#endif
#for n N
            let seen$n = row >= range$n.x && row < range$n.y;
            let s_capped$n = capped(s$n);
            let p$n = select(0.0, exp(s_capped$n - stat.x), seen$n);
            let ds$n = select(0.0, p$n * (dp$n - stat.y) * capped_slope(s_capped$n), seen$n);
#endfor
#ifdef ROLLED
            for (var block = 0u; block < $D4u; block += $Bu * $Eu) {
#endif
#for b B
#ifdef ROLLED
            let q$b = qkv[row * row_size + head * $D4u + block + $b * $Eu + lane_at];
            let g$b = dout[(row * params.heads + head) * $D4u + block + $b * $Eu + lane_at];
#endif
#for e E
            {
                let q = subgroupBroadcast(q$b, $eu);
                let g = subgroupBroadcast(g$b, $eu);
#for n N
                of_k[(block + $b * $E + $e) * $N + $n] = fma(vec4<f32>(ds$n), q, of_k[(block + $b * $E + $e) * $N + $n]);
                of_v[(block + $b * $E + $e) * $N + $n] = fma(vec4<f32>(p$n), g, of_v[(block + $b * $E + $e) * $N + $n]);
#endfor
            }
#endfor
#endfor
#ifdef ROLLED
            }
#endif
        }
    }
    for (var i = 0u; i < $D4u * $Nu; i++) {
        let key = key0 + i % $Nu * $SGu + lane;
        if key < params.keys {
            let at = (key * 2u * params.kv_heads + group.y) * $D4u + i / $Nu;
            parts[at] = of_k[i] * params.scale;
            parts[at + params.kv_heads * $D4u] = of_v[i];
        }
    }
}
#else
#import attention/pool.wgsl
#import attention/tile.wgsl
#import attention/kept.wgsl
#import attention/columns.wgsl

// Vec4 d of chunk c of a row: queries, and behind them dout; keys, and behind them values.
fn load_row(c: u32, row: u32, head: u32, d: u32) -> vec4<f32> {
    if c < $Cu {
        return qkv[(row * (params.heads + 2u * params.kv_heads) + head) * $D4u + c * 4u + d];
    }
    return dout[(row * params.heads + head) * $D4u + (c - $Cu) * 4u + d];
}

fn load_key(c: u32, key: u32, kv_head: u32, d: u32) -> vec4<f32> {
    let head = params.heads + kv_head + select(0u, params.kv_heads, c >= $Cu);
    return qkv[(key * (params.heads + 2u * params.kv_heads) + head) * $D4u + c % $Cu * 4u + d];
}

// Vec4 d of chunk c of a row of the result, where the row's chunk is one of dout.
fn load_out(c: u32, row: u32, head: u32, d: u32) -> vec4<f32> {
    if c < $Cu {
        return vec4<f32>();
    }
    return out[(row * params.heads + head) * $D4u + (c - $Cu) * 4u + d];
}

// Rows whose weights are in memory at a time.
#ifdef HALVES
const PART = 8u;
#else
const PART = 16u;
#endif

// Vec4 i of the rows from `row` on, which are COLUMNS from column0 on there: of dout, or of q.
fn load_part(of_q: bool, row: u32, last: u32, head: u32, column0: u32, i: u32) -> vec4<f32> {
    let at = min(row + i / COLUMNS, last - 1u);
    let column = column0 + i % COLUMNS;
    if of_q {
        return qkv[(at * (params.heads + 2u * params.kv_heads) + head) * $D4u + column];
    }
    return dout[(at * params.heads + head) * $D4u + column];
}

// One workgroup computes the part of one query head and one split in COLUMNS of dk and dv of TILE keys, against 64 query
// rows at a time: a lane has the scores of LANE_TILE keys that lie side by side and 4 rows, 16 apart, and then as many keys of N
// vec4, 8 apart: of dv the first half of the lanes, and of dk the other. The weights go through memory of the workgroup,
// those of PART rows at a time. A key's sums go row by row, so the way tiles fall on its rows changes no bit of it.
@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let across = lane % 16u;
    let down = lane / 16u;
    let head = group.y / ($D4u / COLUMNS);
    let column0 = group.y % ($D4u / COLUMNS) * COLUMNS;
    let kv_head = head / (params.heads / params.kv_heads);
    let key0 = params.first + group.x * TILE;
    let last_key = min(key0 + TILE, params.last) - 1u;
    let split_start = params.first + group.z * params.split;
    let split_end = split_start + params.split;
    // No row sees a key behind it: add_parts.wgsl does not ask for these.
    if split_end <= key0 {
        return;
    }
    let start = max(rows_of(key0).x, split_start);
    let end = min(rows_of(last_key).y, split_end);
    // A lane loads one vec4 of a chunk's rows `line` and `line` + 32, and likewise of its keys.
    let line = lane / 4u;
    let store_at = place(lane % 4u, line);
    // Of the rows that see some key of the lane, the first and the one behind the last.
    let least = rows_of(min(key0 + down * LANE_TILE, last_key)).x;
    let most = rows_of(min(key0 + (down + 1u) * LANE_TILE - 1u, last_key)).y;
    // Of which result it has a part, and which.
    let of_k = lane >= 64u;
    let side = lane / 64u;
    let sums_across = lane % 8u;
    let sums_down = lane % 64u / 8u;
    let sums_least = rows_of(min(key0 + sums_down * LANE_TILE, last_key)).x;
    let sums_most = rows_of(min(key0 + (sums_down + 1u) * LANE_TILE - 1u, last_key)).y;
#for h H
    let line_key$h = min(key0 + line + $h * 32u, last_key);
#for e 4
    let range$h_$e = rows_of(min(key0 + down * LANE_TILE + $h * 4 + $e, last_key));
#for n N
    var sum$h_$e_$n = vec4<f32>();
#endfor
#endfor
#endfor
    for (var row0 = start / 64u * 64u; row0 < end; row0 += 64u) {
        let line_row0 = min(row0 + line, end - 1u);
        let line_row1 = min(row0 + line + 32u, end - 1u);
        var next_q0 = load_row(0u, line_row0, head, lane % 4u);
        var next_q1 = load_row(0u, line_row1, head, lane % 4u);
#for h H
        var next_k$h = load_key(0u, line_key$h, kv_head, lane % 4u);
#endfor
        workgroupBarrier();
#for h H
        pool[store_at + $h * 32u] = next_k$h;
#endfor
        pool[store_at + 256u] = next_q0 * params.scale;
        pool[store_at + 288u] = next_q1 * params.scale;
        let rows = row0 + across + vec4<u32>(0u, 16u, 32u, 48u);
        var lse = vec4<f32>();
#for j 4
        lse[$j] = stats[min(rows[$j], end - 1u) * params.heads + head].x;
#endfor
        // Of the rows that the lane loads, its part in delta = sum_d dout out.
        var next_out0 = vec4<f32>();
        var next_out1 = vec4<f32>();
        var delta0 = 0.0;
        var delta1 = 0.0;
        // Of each key what the lane's four rows have.
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
                next_q0 = load_row(c, line_row0, head, lane % 4u);
                next_q1 = load_row(c, line_row1, head, lane % 4u);
                next_out0 = load_out(c, line_row0, head, lane % 4u);
                next_out1 = load_out(c, line_row1, head, lane % 4u);
#for h H
                next_k$h = load_key(c, line_key$h, kv_head, lane % 4u);
#endfor
            }
            if row0 < most && row0 + 64u > least {
#import attention/scores.wgsl
            }
            if c == $Cu {
#for h H
#for e 4
                {
                    let seen = (rows >= vec4<u32>(range$h_$e.x)) & (rows < vec4<u32>(range$h_$e.y));
                    if params.cap > 0.0 {
                        s$h_$e = vec4<f32>(capped(s$h_$e.x), capped(s$h_$e.y), capped(s$h_$e.z), capped(s$h_$e.w));
                    }
                    p$h_$e = select(vec4<f32>(), exp(s$h_$e - lse), seen);
                    s$h_$e = vec4<f32>();
                }
#endfor
#endfor
            }
            if c < 2u * $Cu {
                let at = c % 2u * CHUNK + store_at;
                // Not where they are loaded, which would be to wait for them there.
                let scale = select(1.0, params.scale, c < $Cu);
#for h H
                pool[at + $h * 32u] = next_k$h;
#endfor
                pool[at + 256u] = next_q0 * scale;
                pool[at + 288u] = next_q1 * scale;
                delta0 += dot(next_q0, next_out0);
                delta1 += dot(next_q1, next_out1);
            } else {
                // The other half is free.
                pool[lane] = vec4<f32>(delta0, delta1, 0.0, 0.0);
            }
        }
        workgroupBarrier();
        var near = vec4<f32>();
        var far = vec4<f32>();
#for j 4
        near += pool[across * 4u + $j];
        far += pool[across * 4u + 64u + $j];
#endfor
        let delta = vec4<f32>(near.x, far.x, near.y, far.y);
        // The first rows are on their way, too.
#for w L
        var x$w = load_part(of_k, row0, end, head, column0, lane % 64u + $w * 64u);
#endfor
        let kept = kept_tile(head, key0 / 64u, row0 / 64u) + (key0 % 64u + down * LANE_TILE) * 16u + across;
#for h H
#for e 4
        s$h_$e = p$h_$e * (s$h_$e - delta);
        if params.cap > 0.0 {
            // The capped score again, from what it became: to keep it would take too many registers.
            let score = lse + log(max(p$h_$e, vec4<f32>(1e-37)));
            s$h_$e *= vec4<f32>(capped_slope(score.x), capped_slope(score.y), capped_slope(score.z), capped_slope(score.w));
        }
        // Every part of a wide head finds the same.
        if column0 == 0u {
            ds[kept + $h * 64 + $e * 16] = s$h_$e;
        }
#endfor
#endfor
        for (var first = row0; first < row0 + 64u; first += PART) {
            workgroupBarrier();
            // Weights as [row][key]; again no two lanes side by side in one bank. Those of the next row come to the front.
            let row_at = across % PART;
#ifdef HALVES
            if across / 8u == first / 8u % 2u {
#endif
#for h H
            {
                let at = row_at * LINE + ((down * $Hu + $h) ^ (across % 8u));
                pool[at] = vec4<f32>(p$h_0.x, p$h_1.x, p$h_2.x, p$h_3.x);
                pool[PART * LINE + at] = vec4<f32>(s$h_0.x, s$h_1.x, s$h_2.x, s$h_3.x);
            }
#for e 4
            p$h_$e = p$h_$e.yzwx;
            s$h_$e = s$h_$e.yzwx;
#endfor
#endfor
#ifdef HALVES
            }
#endif
            let x_at = PART * (2u * LINE + side * COLUMNS);
#for w L
            pool[x_at + lane % 64u + $w * 64u] = x$w;
#endfor
            workgroupBarrier();
            if first + PART < row0 + 64u {
#for w L
                x$w = load_part(of_k, first + PART, end, head, column0, lane % 64u + $w * 64u);
#endfor
            }
            // Only rows that see some key of the lane. Lanes past the last column work for nothing.
            let seen = min(max(sums_most, first) - first, PART);
            for (var i = (max(sums_least, first) - first) / 4u * 4u; i < seen; i += 4u) {
#for t 4
                {
#for h H
                    let weights$h = pool[(side * PART + i + $t) * LINE + ((sums_down * $Hu + $h) ^ ((i + $t) % 8u))];
#endfor
#for n N
                    let y$n = pool[x_at + (i + $t) * COLUMNS + sums_across + $n * 8];
#for h H
#for e 4
                    sum$h_$e_$n = fma(vec4<f32>(weights$h[$e]), y$n, sum$h_$e_$n);
#endfor
#endfor
#endfor
                }
#endfor
            }
        }
    }
    let scale = select(1.0, params.scale, of_k);
#for h H
#for e 4
    {
        let key = key0 + sums_down * LANE_TILE + $h * 4 + $e;
        if key <= last_key {
#for n N
            if sums_across + $n * 8 < COLUMNS {
                let part_key = group.z * (params.last - params.first) + key - params.first;
                let of_head = (part_key * 2u + 1u - side) * params.heads + head;
                parts[of_head * $D4u + column0 + sums_across + $n * 8] = sum$h_$e_$n * scale;
            }
#endfor
        }
    }
#endfor
#endfor
}
#endif
