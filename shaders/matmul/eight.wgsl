// Eight quantized weights from their codes w and their scale s, as v0 and v1.
#ifdef BITS4
#ifdef NF4
        let v0 = nf4(vec4<u32>(w) >> vec4<u32>(0u, 4u, 8u, 12u)) * s;
        let v1 = nf4(vec4<u32>(w) >> vec4<u32>(16u, 20u, 24u, 28u)) * s;
#else
        let w0 = vec4<i32>((vec4<u32>(w) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u));
        let w1 = vec4<i32>((vec4<u32>(w) >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u));
        let v0 = fma(vec4<f32>(w0), vec4<f32>(s.x), vec4<f32>(s.y));
        let v1 = fma(vec4<f32>(w1), vec4<f32>(s.x), vec4<f32>(s.y));
#endif
#endif
#ifdef BITS8
        let w0 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.x) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
        let w1 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.y) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
#ifdef MIN
        let v0 = fma(w0, vec4<f32>(s.x), vec4<f32>(s.y));
        let v1 = fma(w1, vec4<f32>(s.x), vec4<f32>(s.y));
#else
        let v0 = w0 * s;
        let v1 = w1 * s;
#endif
#endif
