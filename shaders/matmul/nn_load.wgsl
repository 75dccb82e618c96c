// Row p of nn.wgsl's `b`, dequantized: the lane's eight columns as v0 and v1.
#ifdef CODED
        let at = p * params.cols + k;
        let w = codes[at / 8u];
#import matmul/nn_scale.wgsl
#ifdef SG4
#import matmul/place_eight.wgsl
#else
#import matmul/eight.wgsl
#endif
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
