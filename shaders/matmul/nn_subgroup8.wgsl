// A block of nn.wgsl's sums with subgroups of eight, for Mesa's lavapipe. There a load of eight lanes is eight loads,
// each with its own test of the bounds: a lane loads four numbers of each eighth row of `a`, and the others ask it for
// them. All of it is as much code as a processor's nearest instruction cache holds; past that every turn fetches it
// from the next.
#import matmul/own_a.wgsl
#ifdef CODED
#ifdef G16
#else
            // All lanes' columns of a row of `b` lie in two blocks: four lanes load the first's scales of four rows,
            // and four the second's.
            let own_p = min(p0 + lane % 4u, params.depth - 1u);
            let own = scale_of(own_p * params.cols + select(first_k, last_k, lane > 3u));
#endif
#endif
#for q 4
            var v$q_0: vec4<f32>;
            var v$q_1: vec4<f32>;
            {
                let p = min(p0 + $qu, params.depth - 1u);
#import matmul/nn_load.wgsl
                v$q_0 = v0;
                v$q_1 = v1;
            }
#endfor
#for i R
            {
                let x = subgroupBroadcast(own_a[$i / 8], $iu % 8u);
#for q 4
                c$i_0_0 = fma(vec4<f32>(x[$q]), v$q_0, c$i_0_0);
                c$i_0_1 = fma(vec4<f32>(x[$q]), v$q_1, c$i_0_1);
#endfor
            }
#endfor
