// A block of nn.wgsl's sums with subgroups of eight, for Mesa's lavapipe: a lane loads a number of each row of `a`, and
// the others ask it for them.
            // Past the depth a lane loads the last numbers again, as zeros.
            let oa = min(p0 + lane, params.depth - 1u) * params.a_depth;
#for i R
            let y$i = select(0.0, a[a$i + oa], p0 + lane < params.depth);
#endfor
#ifdef SCALED
            // All lanes' columns of a row of `b` lie in two blocks: a lane loads the two scales of one row for all.
            let own_p = min(p0 + lane, params.depth - 1u) * params.cols;
            let own_first = scale_of(own_p + first_k);
            let own_last = scale_of(own_p + last_k);
#endif
#for q SG
            var v$q_0: vec4<f32>;
            var v$q_1: vec4<f32>;
            {
                let p = min(p0 + $qu, params.depth - 1u);
#import shared/nn_load.wgsl
                v$q_0 = v0;
                v$q_1 = v1;
            }
#endfor
            // Row by row, so that the sums of one stay in registers over the whole block.
#for i R
#for q SG
            {
                let x = vec4<f32>(subgroupBroadcast(y$i, $qu));
                c$i_0 = fma(x, v$q_0, c$i_0);
                c$i_1 = fma(x, v$q_1, c$i_1);
            }
#endfor
#endfor
