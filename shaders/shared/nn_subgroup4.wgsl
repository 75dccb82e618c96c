// A block of nn.wgsl's sums with subgroups of four, for SwiftShader; nt_subgroup4.wgsl says what costs there. Four rows of
// `b` are decoded, and then each row of `a` in turn is loaded and multiplied with them. The body is kept short: with 20
// rows of `a` instead of 16 a multiplication takes half as long again, and more columns or rows of `b` cost, too.
            let own_p = min(p0 + lane, params.depth - 1u);
#ifdef SCALED
            // The lanes' columns are one block of each row, so that each lane loads one row's scale for all four.
            let own = scale_of(own_p * params.cols + k);
#endif
#for q 4
            var v$q_0: vec4<f32>;
            var v$q_1: vec4<f32>;
            {
                let p = min(p0 + $qu, params.depth - 1u);
#import shared/nn_load.wgsl
                v$q_0 = v0;
                v$q_1 = v1;
            }
#endfor
            // Past the depth a lane loads the last number again, as a zero.
            let in_depth = p0 + lane < params.depth;
#for i R
            {
                let y = select(0.0, a[a$i + own_p * params.a_depth], in_depth);
#for q 4
                {
                    let x = vec4<f32>(subgroupBroadcast(y, $qu));
                    c$i_0 = fma(x, v$q_0, c$i_0);
                    c$i_1 = fma(x, v$q_1, c$i_1);
                }
#endfor
            }
#endfor
