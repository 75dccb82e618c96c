// The sums of nt.wgsl with a tile of `a` in workgroup memory.
    for (var block = 0u; block < blocks; block++) {
#for j N
#ifdef Q4
        let w$j = codes[n$j * blocks + block];
        let s$j = scales[n$j * blocks + block];
#endif
#ifdef Q8
        let w$j_0 = codes[(n$j * blocks + block) * 2u];
        let w$j_1 = codes[(n$j * blocks + block) * 2u + 1u];
        let s$j = scales[n$j * blocks + block];
#endif
#endfor
        workgroupBarrier();
        for (var i = lane; i < $Ru * 8u; i += LANES) {
            let row = row0 + i / 8u;
            let p = block * 32u + (i % 8u) * 4u;
            tile[i] = vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
        }
        workgroupBarrier();
#for q2 2
#for q4 4
        {
#for j N
#ifdef Q4
            let u$j = vec4<u32>(w$j[($q2 * 4 + $q4) / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($q4 % 2u));
#endif
#ifdef Q8
            let u$j = w$j_$q2[$q4];
#endif
            let at$j = block * 32u + $q2 * 16u + $q4 * 4u;
#import shared/nt_load.wgsl
#endfor
#for i R
            {
                let x = tile[$i * 8 + $q2 * 4 + $q4];
#for j N
                c$i_$j = fma(v$j.w, x.w, fma(v$j.z, x.z, fma(v$j.y, x.y, fma(v$j.x, x.x, c$i_$j))));
#endfor
            }
#endfor
        }
#endfor
#endfor
    }
