// The sums of nt.wgsl with subgroups of eight, for Mesa's lavapipe: a lane loads a few numbers of each row of `a`, and the
// others ask it for them.
#for i R
    let a$i = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#endfor
    // Half a block at a time, and then the ranks of the low-rank part as half blocks more: one body of code, for
    // compilers take long over it.
    let low_blocks = select(0u, (params.rank + 15u) / 16u, low_at != NONE);
#for j N
    let b$j = (low_row0 + n$j - first) * params.rank;
#endfor
    for (var half_block = 0u; half_block < 2u * blocks + low_blocks; half_block++) {
        var a_0: array<vec2<f32>, $R>;
#for j N
#for h 2
#for e 2
        var v$j_$h_$e: vec4<f32>;
#endfor
#endfor
#endfor
        if half_block < 2u * blocks {
            let p0 = half_block * 16u;
            {
                // A lane loads two numbers of each row, and past the depth the last one again, as zeros.
                let p = vec2<u32>(p0 + lane * 2u) + vec2<u32>(0u, 1u);
                let in_depth = p < vec2<u32>(params.depth);
                let o = min(p, vec2<u32>(params.depth - 1u)) * params.a_depth;
#for i R
                a_0[$i] = select(vec2<f32>(), vec2<f32>(a[a$i + o.x], a[a$i + o.y]), in_depth);
#endfor
            }
            let second = half_block % 2u == 1u;
#for j N
            {
#ifdef Q4
                let w = codes[n$j * blocks + half_block / 2u];
                let s$j = scales[n$j * blocks + half_block / 2u];
                let c = select(w.xy, w.zw, second);
#endif
#ifdef NF4
                let w = codes[n$j * blocks + half_block / 2u];
                let s$j = nf4_scale((n$j * blocks + half_block / 2u) * 32u);
                let c = select(w.xy, w.zw, second);
#endif
#ifdef Q8
                let c = codes[n$j * blocks * 2u + half_block];
                let s$j = scales[n$j * blocks + half_block / 2u];
#endif
#for h 2
#for e 2
                {
#ifdef Q4
                    let u$j = vec4<u32>(c[$h]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * $eu);
#endif
#ifdef NF4
                    let u$j = vec4<u32>(c[$h]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * $eu);
#endif
#ifdef Q8
                    let u$j = c[$h * 2 + $e];
#endif
                    let at$j = p0 + $h * 8u + $e * 4u;
#import shared/nt_load.wgsl
                    v$j_$h_$e = v$j;
                }
#endfor
#endfor
            }
#endfor
        } else {
            let p0 = (half_block - 2u * blocks) * 16u;
            {
                let p = vec2<u32>(p0 + lane * 2u) + vec2<u32>(0u, 1u);
                let in_rank = p < vec2<u32>(params.rank);
                let o = low_at + min(p, vec2<u32>(params.rank - 1u));
#for i R
                {
                    let at = min(row0 + $iu, params.rows - 1u) * params.low_row;
                    a_0[$i] = select(vec2<f32>(), params.low_scale * vec2<f32>(low[at + o.x], low[at + o.y]), in_rank);
                }
#endfor
            }
            let last = vec4<u32>(params.rank - 1u);
#for j N
#for h 2
#for e 2
            {
                let p = b$j + min(vec4<u32>(p0 + $h * 8u + $e * 4u) + vec4<u32>(0u, 1u, 2u, 3u), last);
                v$j_$h_$e = vec4<f32>(low_b[p.x], low_b[p.y], low_b[p.z], low_b[p.w]);
            }
#endfor
#endfor
#endfor
        }
#for h 2
#for e 2
#for i R
        {
            let x = subgroupBroadcast(a_0[$i], $hu * 4u + $eu * 2u);
            let y = subgroupBroadcast(a_0[$i], $hu * 4u + $eu * 2u + 1u);
#for j N
            c$i_$j = fma(v$j_$h_$e.w, y.y, fma(v$j_$h_$e.z, y.x, fma(v$j_$h_$e.y, x.y, fma(v$j_$h_$e.x, x.x, c$i_$j))));
#endfor
        }
#endfor
#endfor
#endfor
    }
