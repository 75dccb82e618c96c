// A block of nn.wgsl's sums with subgroups of eight, for Mesa's lavapipe: a lane loads a number of each row of `a`, and
// the others ask it for them.
            // Past the depth a lane loads the last numbers again, as zeros.
            let oa = min(p0 + lane, params.depth - 1u) * params.a_depth;
#for i R
            let y$i = select(0.0, a[a$i + oa], p0 + lane < params.depth);
#endfor
#for q SG
            {
                let p = min(p0 + $qu, params.depth - 1u);
#import shared/nn_load.wgsl
#for i R
                {
                    let x = vec4<f32>(subgroupBroadcast(y$i, $qu));
                    c$i_0 = fma(x, v0, c$i_0);
                    c$i_1 = fma(x, v1, c$i_1);
                }
#endfor
            }
#endfor
