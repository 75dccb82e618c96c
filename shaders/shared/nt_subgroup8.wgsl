// The sums of nt.wgsl with subgroups of eight, for Mesa's lavapipe. There a load of eight lanes is eight loads, each with
// its own test of the bounds: a lane loads a few numbers of each row of `a`, and the others ask it for them.
#for i R
    let a$i = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#endfor
    for (var half_block = 0u; half_block < 2u * blocks; half_block++) {
        // A lane loads two numbers of each row, and past the depth the last one again, as zeros.
        let p = vec2<u32>(half_block * 16u + lane * 2u) + vec2<u32>(0u, 1u);
        let in_depth = p < vec2<u32>(params.depth);
        let o = min(p, vec2<u32>(params.depth - 1u)) * params.a_depth;
#for i R
        let own$i = select(vec2<f32>(), vec2<f32>(a[a$i + o.x], a[a$i + o.y]), in_depth);
#endfor
#for j N
#for q 4
        var v$j_$q: vec4<f32>;
#endfor
        {
#ifdef Q4
            let c = codes[n$j * blocks * 2u + half_block];
            let s$j = scales[n$j * blocks + half_block / 2u];
#endif
#ifdef NF4
            let c = codes[n$j * blocks * 2u + half_block];
            let s$j = nf4_scale((n$j * blocks + half_block / 2u) * 32u);
#endif
#ifdef Q8
            let c = codes[n$j * blocks * 2u + half_block];
            let s$j = scales[n$j * blocks + half_block / 2u];
#endif
#for q 4
            {
#ifdef Q4
                let u$j = vec4<u32>(c[$q / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($qu % 2u));
#endif
#ifdef NF4
                let u$j = vec4<u32>(c[$q / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($qu % 2u));
#endif
#ifdef Q8
                let u$j = c[$q];
#endif
                let at$j = half_block * 16u + $qu * 4u;
#import shared/nt_load.wgsl
                v$j_$q = v$j;
            }
#endfor
        }
#endfor
        // Row by row, so that the sums of one stay in registers over the whole half block.
#for i R
        {
#for q 4
            {
                let x = subgroupBroadcast(own$i, $qu * 2u);
                let y = subgroupBroadcast(own$i, $qu * 2u + 1u);
#for j N
                c$i_$j = fma(v$j_$q.w, y.y, fma(v$j_$q.z, y.x, fma(v$j_$q.y, x.y, fma(v$j_$q.x, x.x, c$i_$j))));
#endfor
            }
#endfor
        }
#endfor
    }
    // The low-rank part: a lane has a number of each eighth row.
    if params.rank > 0u && low_at != NONE {
        for (var r = 0u; r < params.rank; r++) {
            var own: array<f32, $R / 8>;
            for (var i = 0u; i < $Ru / 8u; i++) {
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
