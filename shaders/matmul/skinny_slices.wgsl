// The sums of skinny.wgsl for GPUs. They have more lanes than there are results, so the 256 lanes of a workgroup are 32
// slices of the depth, of eight lanes each: slice s takes four steps in a row of each block, and the slices are added
// up in the end.
        let unit = lane % 8u;
        let first_step = lane / 8u * 4u;
#for r ROUNDS
#for k 4
        var c$r_$k = vec4<f32>();
#endfor
#endfor
#ifdef DEEP
        // Two columns, eight apart. A sum is four rows i of one of them.
#for j 2
        let at$j = place.w + min(first_col + $j * 8u + unit, cols - 1u) * params.z$s_c;
#endfor
#else
        // Four columns. A sum is one row i of all.
        let at = place.w + min(first_col + unit * 4u, cols - 4u);
#endif
        // Lanes side by side load what lies side by side in `l`.
        let down = params.l$s_p == 1u;
#for h 2
        let step$h = select($h * 64u + lane / 4u, lane % DEPTH, down);
        let four$h = select(lane % 4u, $h * 2u + lane / DEPTH, down);
        let of_l$h = min(vec4<u32>(i0 + four$h * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
        let o$h = place.z + of_l$h * params.l$s_i;
#endfor
#for v V
        var v$v = vec4<f32>();
#endfor
        var place = 0u;
        for (var p0 = 0u;; p0 += DEPTH) {
            // All loads of a block are under way while the one before is multiplied.
#for v V
            var next$v = vec4<f32>();
#endfor
#for h 2
            var y$h = vec4<f32>();
#endfor
            if p0 < depth {
#ifdef DEEP
                let p = min(p0 + first_step, depth - 4u);
#for j 2
                next$j = z$s[(at$j + p) / 4u];
#endfor
#else
#for q 4
                next$q = z$s[(at + min(p0 + first_step + $qu, depth - 1u) * params.z$s_p) / 4u];
#endfor
#endif
#for h 2
                let start$h = min(p0 + step$h, depth - 1u) * params.l$s_p;
                y$h = vec4<f32>(l$s[o$h.x + start$h], l$s[o$h.y + start$h], l$s[o$h.z + start$h], l$s[o$h.w + start$h]);
#endfor
            }
            if p0 > 0u {
#for k 4
#for q 4
                let x$k_$q = tile[place + (first_step + $qu) * 4u + $ku];
#ifdef DEEP
#for j 2
                c$j_$k = fma(x$k_$q, vec4<f32>(v$j[$q]), c$j_$k);
#endfor
#else
#for e 4
                c$k_$e = fma(vec4<f32>(x$k_$q[$e]), v$q, c$k_$e);
#endfor
#endif
#endfor
#endfor
                place = DEPTH * 4u - place;
            }
            if p0 >= depth {
                break;
            }
            // Past the depth are zeros.
#for h 2
            tile[place + step$h * 4u + four$h] = select(vec4<f32>(), y$h, p0 + step$h < depth);
#endfor
#for v V
            v$v = next$v;
#endfor
            workgroupBarrier();
        }
#for r ROUNDS
        {
#ifdef DEEP
            let i = i0 + lane / 32u * 4u + lane % 4u;
            let col = first_col + $r * 8u + lane / 4u % 8u;
#else
            let i = i0 + $r * 4u + lane / 32u;
            let col = first_col + lane % 32u;
#endif
            let own = lane < 128u && i < count && col < cols;
            let at = shape.x + i * params.out$s_i + col * params.out$s_c;
            var before = 0.0;
            if own && params.accumulate != 0u {
                before = out[at];
            }
            let sum = over_slices(lane, c$r_0, c$r_1, c$r_2, c$r_3);
            if own {
                out[at] = before + params.scale$s * sum;
            }
        }
#endfor
