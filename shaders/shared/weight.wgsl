#ifdef CODED
#import shared/coded.wgsl
#endif
// Element `at` of a matrix in any encoding, dequantized from its `codes` and `scales`.
fn weight(at: u32) -> f32 {
#ifdef CODED
    let s = scale_of(at);
#ifdef BITS4
    let code = (codes[at / 8u] >> (4u * (at % 8u))) & 15u;
#else
    let code = bitcast<i32>(codes[at / 4u] << (24u - 8u * (at % 4u))) >> 24u;
#endif
#ifdef NF4
    return nf4(vec4<u32>(code)).x * s;
#else
#ifdef MIN
    return fma(f32(code), s.x, s.y);
#else
    return f32(code) * s;
#endif
#endif
#endif
#ifdef F16
    return unpack2x16float(codes[at / 2u])[at % 2u];
#endif
#ifdef F32
    return bitcast<f32>(codes[at]);
#endif
}
