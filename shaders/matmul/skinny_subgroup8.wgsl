// The sums of skinny.wgsl with subgroups of eight, for Mesa's lavapipe. There a load costs a test of the bounds for
// every lane, and a vec4 not much more than a number; and nt_subgroup8.wgsl says how long the code may be.
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
        // Four lanes load the first eight rows i of four steps of the depth, and four the others; past the depth the
        // last step again, as zeros.
        let i_lane = i0 + lane / 4u * 8u;
#for h 2
        let of_l$h = min(vec4<u32>(i_lane + $h * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
        let o$h = place.z + of_l$h * params.l$s_i;
#endfor
        for (var p0 = 0u; p0 < depth; p0 += DEPTH) {
            let p = p0 + lane % 4u;
            let start = min(p, depth - 1u) * params.l$s_p;
            var y: array<vec4<f32>, 2>;
#for h 2
            let of_y$h = o$h + start;
            y[$h] = select(vec4<f32>(), vec4<f32>(l$s[of_y$h.x], l$s[of_y$h.y], l$s[of_y$h.z], l$s[of_y$h.w]), p < depth);
#endfor
#ifdef DEEP
#for j N
            let v$j = z$s[(at$j + p0) / 4u];
#endfor
#endif
#ifdef WIDE
#for q 4
            let row$q = min(p0 + $qu, depth - 1u) * params.z$s_p;
#for j N4
            let v$q_$j = z$s[(at$j + row$q) / 4u];
#endfor
#endfor
#endif
            // Each block is summed by itself: over many tokens one long f32 sum loses digits.
#for k 4
#for q 4
            let x$q_$k = subgroupBroadcast(y[$k % 2], $qu + $ku / 2u * 4u);
#endfor
#ifdef DEEP
#for j N
            {
                let sum = fma(x2_$k, vec4<f32>(v$j.z), fma(x1_$k, vec4<f32>(v$j.y), x0_$k * v$j.x));
                c$k_$j += fma(x3_$k, vec4<f32>(v$j.w), sum);
            }
#endfor
#endif
#ifdef WIDE
#for e 4
#for j N4
            {
                let sum = fma(vec4<f32>(x2_$k[$e]), v2_$j, fma(vec4<f32>(x1_$k[$e]), v1_$j, x0_$k[$e] * v0_$j));
                c$k_$e_$j += fma(vec4<f32>(x3_$k[$e]), v3_$j, sum);
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
