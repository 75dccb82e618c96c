// A block of nn.wgsl's sums with subgroups of four, for SwiftShader; nt_subgroup4.wgsl says what costs there. Eight
// rows of `b` are decoded, each four of them in the lane's own order, and then each row of `a` in turn is loaded and
// multiplied with them.
#for g 2
            // Past the depth a lane loads the last number again, as a zero.
            let in_depth$g = p0 + $gu * 4u + lane < params.depth;
            let own_p$g = min(p0 + $gu * 4u + lane, params.depth - 1u);
            let own_a$g = own_p$g * params.a_depth;
#for q 4
            let p_$g_$q = min(p0 + $gu * 4u + (lane ^ $qu), params.depth - 1u);
#endfor
#for h H
#ifdef G16
#for q 4
            let s$g_$h_$q = scale_of(p_$g_$q * params.cols + k$h);
#endfor
#else
#ifdef CODED
            // All lanes' eight columns are in one block of a row, so that each lane loads one row's scale for all four.
            let s$g_$h_0 = scale_of(own_p$g * params.cols + k$h);
            let s$g_$h_1 = quadSwapX(s$g_$h_0);
            let s$g_$h_2 = quadSwapY(s$g_$h_0);
            let s$g_$h_3 = quadSwapDiagonal(s$g_$h_0);
#endif
#endif
#for q 4
            var v$g_$h_$q_0: vec4<f32>;
            var v$g_$h_$q_1: vec4<f32>;
            {
                let p = p_$g_$q;
                let k = k$h;
                let col = col$h;
#import matmul/nn_load.wgsl
                v$g_$h_$q_0 = v0;
                v$g_$h_$q_1 = v1;
            }
#endfor
#endfor
#endfor
#for i R
            {
#for g 2
                let y$g = select(0.0, a[a$i + own_a$g], in_depth$g);
#endfor
#for g 2
                {
                    let x = y$g;
                    let y = quadSwapX(x);
                    let z = quadSwapY(x);
                    let w = quadSwapDiagonal(x);
#for h H
#for t 2
                    // One sum after the other: the compiler has few registers.
                    c$i_$h_$t = vec4<f32>(
#for e 4
                        fma(v$g_$h_3_$t[$e], w, fma(v$g_$h_2_$t[$e], z,
                            fma(v$g_$h_1_$t[$e], y, fma(v$g_$h_0_$t[$e], x, c$i_$h_$t[$e])))),
#endfor
                    );
#endfor
#endfor
                }
#endfor
            }
#endfor
