// The sums of nt.wgsl with subgroups of four, for SwiftShader: there a load costs as much as dozens of multiplications, a
// broadcast a few, and a value that lives across a branch is slow. So columns are decoded half a block at a time, and
// then each row in turn is loaded and multiplied with all of them.
    for (var block = 0u; block < blocks; block++) {
#for j N
#import shared/nt_block.wgsl
#endfor
#for q2 2
        {
#for j N
#for q4 4
            var v$j_$q4: vec4<f32>;
            {
#import shared/nt_four.wgsl
                v$j_$q4 = v$j;
            }
#endfor
#endfor
            let p = block * 32u + $q2 * 16u + lane;
#ifdef WHOLE
#for q4 4
            let at_$q4 = (p + $q4 * 4u) * params.a_depth;
#endfor
#else
            // Past the depth a lane loads the last number again, as a zero.
#for q4 4
            let at_$q4 = min(p + $q4 * 4u, params.depth - 1u) * params.a_depth;
            let in_$q4 = p + $q4 * 4u < params.depth;
#endfor
#endif
#for i R
            {
                let at = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#for q4 4
#ifdef WHOLE
                let y$q4 = a[at + at_$q4];
#else
                let y$q4 = select(0.0, a[at + at_$q4], in_$q4);
#endif
#endfor
#for q4 4
#for e 4
                {
                    let x = subgroupBroadcast(y$q4, $eu);
#for j N
                    c$i_$j = fma(v$j_$q4[$e], x, c$i_$j);
#endfor
                }
#endfor
#endfor
            }
#endfor
        }
#endfor
    }
