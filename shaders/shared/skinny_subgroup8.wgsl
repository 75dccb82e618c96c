// The sums of skinny.wgsl with subgroups of eight, for Mesa's lavapipe. There a load costs a test of the bounds for every
// lane, and a vec4 not much more than a number.
#ifdef DEEP
#for j N
        let at$j = place.w + min(col0 + $j * LANES, cols - 1u) * params.z$s_c;
#for k 4
        var c$k_$j = vec4<f32>();
#endfor
#endfor
#endif
#ifdef WIDE
#for j N4
        let at$j = place.w + min(col0 + $j * LANES * 4u, cols - 4u);
#for k 4
#for e 4
        var c$k_$e_$j = vec4<f32>();
#endfor
#endfor
#endfor
#endif
        for (var p0 = 0u; p0 < depth; p0 += DEPTH) {
            // A lane loads the rows i of one step of the depth, and past it the last ones again, as zeros.
            let start = min(p0 + lane, depth - 1u) * params.l$s_p;
#for k 4
            let y$k = select(vec4<f32>(), vec4<f32>(l$s[o$k.x + start], l$s[o$k.y + start], l$s[o$k.z + start], l$s[o$k.w + start]), p0 + lane < depth);
#endfor
#ifdef DEEP
            let second = min(p0 + 4u, depth - 4u);
#for j N
            let v0_$j = z$s[(at$j + p0) / 4u];
            let v1_$j = z$s[(at$j + second) / 4u];
#endfor
#endif
#ifdef WIDE
#for q 8
            let row$q = min(p0 + $qu, depth - 1u) * params.z$s_p;
#for j N4
            let v$q_$j = z$s[(at$j + row$q) / 4u];
#endfor
#endfor
#endif
            // Each block is summed by itself: over many tokens one long f32 sum loses digits.
#for k 4
#for q 8
            let x$q_$k = subgroupBroadcast(y$k, $qu);
#endfor
#ifdef DEEP
#for j N
            {
                var sum = x0_$k * v0_$j.x;
                sum = fma(x1_$k, vec4<f32>(v0_$j.y), sum);
                sum = fma(x2_$k, vec4<f32>(v0_$j.z), sum);
                sum = fma(x3_$k, vec4<f32>(v0_$j.w), sum);
                sum = fma(x4_$k, vec4<f32>(v1_$j.x), sum);
                sum = fma(x5_$k, vec4<f32>(v1_$j.y), sum);
                sum = fma(x6_$k, vec4<f32>(v1_$j.z), sum);
                c$k_$j += fma(x7_$k, vec4<f32>(v1_$j.w), sum);
            }
#endfor
#endif
#ifdef WIDE
#for e 4
#for j N4
            {
                var sum = x0_$k[$e] * v0_$j;
                sum = fma(vec4<f32>(x1_$k[$e]), v1_$j, sum);
                sum = fma(vec4<f32>(x2_$k[$e]), v2_$j, sum);
                sum = fma(vec4<f32>(x3_$k[$e]), v3_$j, sum);
                sum = fma(vec4<f32>(x4_$k[$e]), v4_$j, sum);
                sum = fma(vec4<f32>(x5_$k[$e]), v5_$j, sum);
                sum = fma(vec4<f32>(x6_$k[$e]), v6_$j, sum);
                c$k_$e_$j += fma(vec4<f32>(x7_$k[$e]), v7_$j, sum);
            }
#endfor
#endfor
#endif
#endfor
        }
        // Written from an array in a loop: a store for each register makes for long code.
        var sums: array<vec4<f32>, 4 * $N>;
#ifdef DEEP
#for j N
#for k 4
        sums[4 * $j + $k] = c$k_$j;
#endfor
#endfor
#endif
#ifdef WIDE
#for j N4
#for k 4
#for e 4
        sums[16 * $j + 4 * $k + $e] = c$k_$e_$j;
#endfor
#endfor
#endfor
#endif
