// A block of nn.wgsl's sums with subgroups of eight, for Mesa's lavapipe. There a load of eight lanes is eight loads, each
// with its own test of the bounds: a lane loads a number of each row of `a`, or (TALL) eight of each eighth row as two vec4,
// and the others ask it for them.
            // Past the depth a lane loads the last numbers again, as zeros.
#ifdef TALL
            let second = min(p0 + 4u, params.depth - 4u);
            var y: array<vec4<f32>, 2 * $TALL>;
#for g TALL
            y[2 * $g] = a[(a$g + p0) / 4u];
            y[2 * $g + 1] = select(vec4<f32>(), a[(a$g + second) / 4u], p0 + 4u < params.depth);
#endfor
#else
            let oa = min(p0 + lane, params.depth - 1u) * params.a_depth;
#for i R
            let y$i = select(0.0, a[a$i + oa], p0 + lane < params.depth);
#endfor
#endif
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
#ifdef TALL
                let x = vec4<f32>(subgroupBroadcast(y[$i / 8 * 2 + $q / 4], $iu % 8u)[$q % 4]);
#else
                let x = vec4<f32>(subgroupBroadcast(y$i, $qu));
#endif
                c$i_0 = fma(x, v$q_0, c$i_0);
                c$i_1 = fma(x, v$q_1, c$i_1);
            }
#endfor
#endfor
