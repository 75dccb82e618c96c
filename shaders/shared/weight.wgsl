#ifdef NF4
#import shared/nf4.wgsl
#endif
// Element `at` of a matrix in any encoding, dequantized from its `codes` and `scales`.
fn weight(at: u32) -> f32 {
#ifdef Q4
    let s = scales[at / 32u];
    return fma(f32((codes[at / 8u] >> (4u * (at % 8u))) & 15u), s.x, s.y);
#endif
#ifdef NF4
    return nf4(vec4<u32>((codes[at / 8u] >> (4u * (at % 8u))) & 15u)).x * nf4_scale(at);
#endif
#ifdef Q8
    return f32(bitcast<i32>(codes[at / 4u] << (24u - 8u * (at % 4u))) >> 24u) * scales[at / 32u];
#endif
#ifdef F16
    return unpack2x16float(codes[at / 2u])[at % 2u];
#endif
#ifdef F32
    return bitcast<f32>(codes[at]);
#endif
}
