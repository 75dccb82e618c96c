// Row p of nn.wgsl's `b`, dequantized: the lane's eight columns as v0 and v1.
#ifdef Q4
        let at = p * params.cols + k;
        let w = vec4<u32>(codes[at / 8u]);
#import shared/nn_scale.wgsl
        let v0 = fma(vec4<f32>(vec4<i32>((w >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u))), vec4<f32>(s.x), vec4<f32>(s.y));
        let v1 = fma(vec4<f32>(vec4<i32>((w >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u))), vec4<f32>(s.x), vec4<f32>(s.y));
#endif
#ifdef NF4
        let at = p * params.cols + k;
        let w = vec4<u32>(codes[at / 8u]);
#import shared/nn_scale.wgsl
        let v0 = nf4(w >> vec4<u32>(0u, 4u, 8u, 12u)) * s;
        let v1 = nf4(w >> vec4<u32>(16u, 20u, 24u, 28u)) * s;
#endif
#ifdef Q8
        let at = p * params.cols + k;
        let w = codes[at / 8u];
#import shared/nn_scale.wgsl
        let v0 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.x) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)) * s;
        let v1 = vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(w.y) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u)) * s;
#endif
#ifdef F16
#ifdef V4
        let w = codes[(p * params.cols + k) / 8u];
        let v0 = vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
        let v1 = vec4<f32>(unpack2x16float(w.z), unpack2x16float(w.w));
#else
        let last = (p + 1u) * params.cols / 2u - 1u;
        let at = (p * params.cols + col) / 2u;
        let v0 = vec4<f32>(unpack2x16float(codes[min(at, last)]), unpack2x16float(codes[min(at + 1u, last)]));
        let v1 = vec4<f32>(unpack2x16float(codes[min(at + 2u, last)]), unpack2x16float(codes[min(at + 3u, last)]));
#endif
#endif
#ifdef F32
#ifdef V4
        let at = (p * params.cols + k) / 4u;
        let v0 = codes[at];
        let v1 = codes[at + 1u];
#else
        let last = (p + 1u) * params.cols - 1u;
        let at = p * params.cols + col;
        let v0 = vec4<f32>(codes[min(at, last)], codes[min(at + 1u, last)],
            codes[min(at + 2u, last)], codes[min(at + 3u, last)]);
        let v1 = vec4<f32>(codes[min(at + 4u, last)], codes[min(at + 5u, last)],
            codes[min(at + 6u, last)], codes[min(at + 7u, last)]);
#endif
#endif
