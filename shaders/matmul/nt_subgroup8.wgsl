// The sums of nt.wgsl with subgroups of eight, for Mesa's lavapipe. There a load of eight lanes is eight loads, each
// with its own test of the bounds: a lane loads four numbers of each eighth row of `a`, and the others ask it for them.
// The inner loop is as much code as a processor's nearest instruction cache holds; past that every turn fetches it from
// the next.
#for g G
    let a$g = params.a_at + min(row0 + $gu * 8u + lane, params.rows - 1u) * params.a_row;
#endfor
    for (var block = 0u; block < blocks; block++) {
#for j N
#import matmul/nt_block.wgsl
#endfor
        for (var q = 0u; q < min(8u, (params.depth - block * 32u + 3u) / 4u); q++) {
            let p0 = block * 32u + q * 4u;
#import matmul/own_a.wgsl
#for j N
            let at$j = p0;
#ifdef BITS4
            let u$j = vec4<u32>(w$j[q / 2u]) >> (vec4<u32>(0u, 4u, 8u, 12u) + q % 2u * 16u);
#endif
#ifdef BITS8
            let u$j = select(w$j_0, w$j_1, q > 3u)[q % 4u];
#endif
#ifdef G16
            let s$j = select(s$j_0, s$j_1, q > 3u);
#endif
#import matmul/nt_load.wgsl
#endfor
#for i R
            {
                let x = subgroupBroadcast(own_a[$i / 8], $iu % 8u);
#for j N
                c$i_$j = fma(v$j.w, x.w, fma(v$j.z, x.z, fma(v$j.y, x.y, fma(v$j.x, x.x, c$i_$j))));
#endfor
            }
#endfor
        }
    }
    // The low-rank part: a lane has a number of each eighth row.
    if params.rank > 0u && low_at != NONE {
        for (var r = 0u; r < params.rank; r++) {
            var own: array<f32, $G>;
            for (var i = 0u; i < $Gu; i++) {
                let row = min(row0 + i * 8u + lane, params.rows - 1u);
                own[i] = params.low_scale * low[row * params.low_row + low_at + r];
            }
#for j N
            let v$j = low_b[(low_row0 + n$j - first) * params.rank + r];
#endfor
#for i R
            {
                let x = subgroupBroadcast(own[$i / 8], $iu % 8u);
#for j N
                c$i_$j = fma(v$j, x, c$i_$j);
#endfor
            }
#endfor
        }
    }
