// The sums of nt.wgsl with subgroups of four, for SwiftShader, whose compiler leaves much to do: a load is a hundred
// instructions, a broadcast thirty, a swap among four lanes a few, a sum that lives across a loop a dozen, a product
// and a sum four. So a lane takes each four of the depth in an order of its own, number q of them from place lane ^ q:
// swaps bring it the numbers of `a`. And as much of the depth as loads little more is straight code.
    let place = vec4<u32>(lane) ^ vec4<u32>(0u, 1u, 2u, 3u);
#import matmul/place.wgsl
    for (var p0 = 0u; p0 < params.depth; p0 += $EIGHTSu * 8u) {
#ifdef CODED
        let block = p0 / 32u;
#endif
#for j N
#import matmul/nt_block.wgsl
#for q EIGHTS
        var v$j_$q_0: vec4<f32>;
        var v$j_$q_1: vec4<f32>;
        {
#import matmul/nt_eight.wgsl
            v$j_$q_0 = v0;
            v$j_$q_1 = v1;
        }
#endfor
#endfor
#for q EIGHTS
#for t 2
        let p_$q_$t = p0 + $qu * 8u + $tu * 4u + lane;
#ifdef CODED
        let at_$q_$t = p_$q_$t * params.a_depth;
#else
        // Past the depth a lane loads the last number again, as a zero.
        let at_$q_$t = min(p_$q_$t, params.depth - 1u) * params.a_depth;
        let in_$q_$t = p_$q_$t < params.depth;
#endif
#endfor
#endfor
#for i R
        {
            let at = params.a_at + min(row0 + $iu, params.rows - 1u) * params.a_row;
#for q EIGHTS
#for t 2
#ifdef CODED
            let y_$q_$t = a[at + at_$q_$t];
#else
            let y_$q_$t = select(0.0, a[at + at_$q_$t], in_$q_$t);
#endif
#endfor
#endfor
#for q EIGHTS
#for t 2
            {
                let x = y_$q_$t;
                let y = quadSwapX(x);
                let z = quadSwapY(x);
                let w = quadSwapDiagonal(x);
#for j N
                c$i_$j = fma(v$j_$q_$t.w, w, fma(v$j_$q_$t.z, z, fma(v$j_$q_$t.y, y, fma(v$j_$q_$t.x, x, c$i_$j))));
#endfor
            }
#endfor
#endfor
        }
#endfor
    }
