// The sums of nt.wgsl with a tile of `a` in workgroup memory.
    for (var block = 0u; block < blocks; block++) {
#for j N
#import matmul/nt_block.wgsl
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
#import matmul/nt_four.wgsl
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
