// Four weights of column j of nt.wgsl's `b` from depth at$j on, as v$j; quantized ones from their codes u$j.
#ifdef BITS4
#ifdef NF4
            let v$j = nf4(u$j) * s$j;
#else
            let v$j = fma(vec4<f32>(vec4<i32>(u$j & vec4<u32>(15u))), vec4<f32>(s$j.x), vec4<f32>(s$j.y));
#endif
#endif
#ifdef BITS8
            let i$j = bitcast<vec4<i32>>(vec4<u32>(u$j) << vec4<u32>(24u, 16u, 8u, 0u));
#ifdef MIN
            let v$j = fma(vec4<f32>(i$j >> vec4<u32>(24u)), vec4<f32>(s$j.x), vec4<f32>(s$j.y));
#else
            let v$j = vec4<f32>(i$j >> vec4<u32>(24u)) * s$j;
#endif
#endif
#ifdef F16
            // `a` is zero past the depth, so a clamped, finite weight adds nothing.
#ifdef V4
            let h$j = codes[(n$j * params.depth + at$j) / 4u];
            let v$j = vec4<f32>(unpack2x16float(h$j.x), unpack2x16float(h$j.y));
#else
            let half$j = (n$j * params.depth + min(at$j, params.depth - 4u)) / 2u;
            let v$j = vec4<f32>(unpack2x16float(codes[half$j]), unpack2x16float(codes[half$j + 1u]));
#endif
#endif
#ifdef F32
#ifdef V4
            let v$j = codes[(n$j * params.depth + at$j) / 4u];
#else
            let l$j = params.depth - 1u;
            let r$j = n$j * params.depth;
            let v$j = vec4<f32>(codes[r$j + min(at$j, l$j)], codes[r$j + min(at$j + 1u, l$j)],
                codes[r$j + min(at$j + 2u, l$j)], codes[r$j + min(at$j + 3u, l$j)]);
#endif
#endif
