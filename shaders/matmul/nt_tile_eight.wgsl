// Eight weights of column n of nt.wgsl's `b` from depth p on, dequantized, as v0 and v1. Past the depth they are any
// finite numbers: `a` is zero there.
            let at = n * params.depth + p;
#ifdef F16
#ifdef V4
            let last = (params.cols0 + params.cols1 + params.cols2) * params.depth / 4u - 1u;
            let h0 = codes[min(at / 4u, last)];
            let h1 = codes[min(at / 4u + 1u, last)];
            let v0 = vec4<f32>(unpack2x16float(h0.x), unpack2x16float(h0.y));
            let v1 = vec4<f32>(unpack2x16float(h1.x), unpack2x16float(h1.y));
#else
            let h0 = (n * params.depth + min(p, params.depth - 4u)) / 2u;
            let h1 = (n * params.depth + min(p + 4u, params.depth - 4u)) / 2u;
            let v0 = vec4<f32>(unpack2x16float(codes[h0]), unpack2x16float(codes[h0 + 1u]));
            let v1 = vec4<f32>(unpack2x16float(codes[h1]), unpack2x16float(codes[h1 + 1u]));
#endif
#else
#ifdef F32
#ifdef V4
            let last = (params.cols0 + params.cols1 + params.cols2) * params.depth / 4u - 1u;
            let v0 = codes[min(at / 4u, last)];
            let v1 = codes[min(at / 4u + 1u, last)];
#else
            let last = n * params.depth + params.depth - 1u;
            let v0 = vec4<f32>(codes[min(at, last)], codes[min(at + 1u, last)],
                codes[min(at + 2u, last)], codes[min(at + 3u, last)]);
            let v1 = vec4<f32>(codes[min(at + 4u, last)], codes[min(at + 5u, last)],
                codes[min(at + 6u, last)], codes[min(at + 7u, last)]);
#endif
#else
            let w = codes[at / 8u];
            let s = scale_of(at);
#import matmul/eight.wgsl
#endif
#endif
