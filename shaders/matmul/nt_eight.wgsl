// With subgroups of four: weights p0 + 8 $q to p0 + 8 $q + 7 of column j of nt.wgsl's `b`, as v0 and v1, each in the
// order of `place`.
#ifdef CODED
#ifdef BITS8
            let four = select(w$j_0, w$j_1, $qu > 1u);
            let w = vec2<u32>(four[$q * 2 % 4], four[$q * 2 % 4 + 1]);
#else
            let w = w$j[$q];
#endif
#ifdef G16
            let s = select(s$j_0, s$j_1, $qu > 1u);
#else
            let s = s$j;
#endif
#import matmul/place_eight.wgsl
#else
#ifdef F16
            // `a` is zero past the depth, so a clamped, finite weight adds nothing.
            let odd = vec2<bool>(lane % 2u == 1u);
#for t 2
            let half$t = (n$j * params.depth + min(p0 + $qu * 8u + $tu * 4u, params.depth - 4u)) / 2u;
            let near$t = unpack2x16float(codes[half$t + lane / 2u]);
            let far$t = unpack2x16float(codes[half$t + ((lane / 2u) ^ 1u)]);
            let v$t = vec4<f32>(select(near$t, near$t.yx, odd), select(far$t, far$t.yx, odd));
#endfor
#endif
#ifdef F32
            let row = n$j * params.depth;
#for t 2
            let o$t = row + min(vec4<u32>(p0 + $qu * 8u + $tu * 4u) + place, vec4<u32>(params.depth - 1u));
            let v$t = vec4<f32>(codes[o$t.x], codes[o$t.y], codes[o$t.z], codes[o$t.w]);
#endfor
#endif
#endif
