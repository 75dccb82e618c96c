// The sums of skinny.wgsl with `z` read number by number.
#for j N
        let at$j = place.w + min(col0 + $j * LANES, cols - 1u) * params.z$s_c;
#for k 4
        var c$k_$j = vec4<f32>();
#endfor
#endfor
        for (var p0 = 0u; p0 < depth; p0 += DEPTH) {
            // Each block is summed by itself: over many tokens one long f32 sum loses digits.
#for j N
#for k 4
            var b$k_$j = vec4<f32>();
#endfor
#endfor
#ifdef PLAIN
            workgroupBarrier();
            for (var i = lane; i < 64u; i += LANES) {
                let p = p0 + i / 4u;
                let start = place.z + min(p, depth - 1u) * params.l$s_p;
                let last = vec4<u32>(count - 1u);
                let o = start + min(vec4<u32>(i0 + i % 4u * 4u) + vec4<u32>(0u, 1u, 2u, 3u), last) * params.l$s_i;
                tile[i] = select(vec4<f32>(), vec4<f32>(l$s[o.x], l$s[o.y], l$s[o.z], l$s[o.w]), p < depth);
            }
            workgroupBarrier();
            for (var q = 0u; q < DEPTH; q++) {
                let p = min(p0 + q, depth - 1u) * params.z$s_p;
#for k 4
                let x$k = tile[q * 4u + $k];
#endfor
#for j N
                {
                    let v = vec4<f32>(z$s[at$j + p]);
#for k 4
                    b$k_$j = fma(x$k, v, b$k_$j);
#endfor
                }
#endfor
            }
#else
            let start = min(p0 + lane, depth - 1u) * params.l$s_p;
#for k 4
            let of_y$k = o$k + start;
            let y$k = select(vec4<f32>(), vec4<f32>(l$s[of_y$k.x], l$s[of_y$k.y], l$s[of_y$k.z], l$s[of_y$k.w]),
                p0 + lane < depth);
#endfor
#for q SG
            {
                let p = min(p0 + $qu, depth - 1u) * params.z$s_p;
#for k 4
                let x$k = subgroupBroadcast(y$k, $qu);
#endfor
#for j N
                {
                    let v = vec4<f32>(z$s[at$j + p]);
#for k 4
                    b$k_$j = fma(x$k, v, b$k_$j);
#endfor
                }
#endfor
            }
#endfor
#endif
#for j N
#for k 4
            c$k_$j += b$k_$j;
#endfor
#endfor
        }
        // Written from an array in a loop: a store for each register makes for long code.
        var sums: array<vec4<f32>, 4 * $N>;
#for j N
#for k 4
        sums[4 * $j + $k] = c$k_$j;
#endfor
#endfor
