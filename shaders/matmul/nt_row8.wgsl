// The sums of nt.wgsl for a single row with subgroups of eight: of each block of 32 a lane loads four numbers of `a`, and
// all ask it for them.
#ifdef Q4
    // Codes are not shifted: what their place in the word makes of them is taken from the numbers of `a` instead, but for
    // the highest, which would be negative there. And a block is scaled when its sum is known.
    let in_place = vec4<f32>(1.0, 0x1p-4, 0x1p-8, 0x1p-12);
    let worth = select(in_place, vec4<f32>(0x1p-16, 0x1p-20, 0x1p-24, 1.0), lane % 2u == 1u);
#endif
    for (var block = 0u; block < blocks; block++) {
#for j N
#import matmul/nt_block.wgsl
#endfor
        let p = block * 32u + lane * 4u;
        let own = select(vec4<f32>(), a[(params.a_at + min(p, params.depth - 4u)) / 4u], p < params.depth);
#ifdef Q4
        let own_sum = (own.x + own.y) + (own.z + own.w);
#for q 8
        let sum$q = subgroupBroadcast(own_sum, $qu);
#endfor
        let sum = ((sum0 + sum1) + (sum2 + sum3)) + ((sum4 + sum5) + (sum6 + sum7));
#for j N
        var b$j = 0.0;
#endfor
#for q 4
        {
            let x = subgroupBroadcast(own * worth, $qu * 2u);
            let y = subgroupBroadcast(own * worth, $qu * 2u + 1u);
#for j N
            {
                let w = w$j[$q];
                let v = vec4<f32>(vec4<i32>(vec4<u32>(w) & vec4<u32>(15u, 15u << 4u, 15u << 8u, 15u << 12u)));
                let u = vec4<f32>(vec4<i32>(vec4<u32>(w & (15u << 16u), w & (15u << 20u), w & (15u << 24u), w >> 28u)));
                b$j = fma(v.w, x.w, fma(v.z, x.z, fma(v.y, x.y, fma(v.x, x.x, b$j))));
                b$j = fma(u.w, y.w, fma(u.z, y.z, fma(u.y, y.y, fma(u.x, y.x, b$j))));
            }
#endfor
        }
#endfor
#for j N
        c0_$j = fma(b$j, s$j.x, fma(sum, s$j.y, c0_$j));
#endfor
#else
#for q2 2
#for q4 4
        {
            let x = subgroupBroadcast(own, $q2u * 4u + $q4u);
#for j N
#import matmul/nt_four.wgsl
            c0_$j = fma(v$j.w, x.w, fma(v$j.z, x.z, fma(v$j.y, x.y, fma(v$j.x, x.x, c0_$j))));
#endfor
        }
#endfor
#endfor
#endif
    }
