// Eight codes of `w`, dequantized where place.wgsl says that they stand: v0 and v1.
#ifdef BITS4
#ifdef NF4
        let v0 = nf4_choose(vec4<u32>(w), one_0) * s;
        let v1 = nf4_choose(vec4<u32>(w), one_1) * s;
#else
        let v0 = fma(vec4<f32>(vec4<i32>(vec4<u32>(w) & mask_0)), s.x * worth_0, vec4<f32>(s.y));
        let v1 = fma(vec4<f32>(vec4<i32>(vec4<u32>(w ^ 0x80000000u) & mask_1)) + lift, s.x * worth_1, vec4<f32>(s.y));
#endif
#endif
#ifdef BITS8
        let w0 = fma(vec4<f32>(vec4<i32>((vec4<u32>(w.x) ^ flip) & mask)), worth, lift);
        let w1 = fma(vec4<f32>(vec4<i32>((vec4<u32>(w.y) ^ flip) & mask)), worth, lift);
#ifdef MIN
        let v0 = fma(w0, vec4<f32>(s.x), vec4<f32>(s.y));
        let v1 = fma(w1, vec4<f32>(s.x), vec4<f32>(s.y));
#else
        let v0 = w0 * s;
        let v1 = w1 * s;
#endif
#endif
