// With subgroups of four: where number `place` of four codes stands in its word. SwiftShader shifts a vector one lane
// at a time, so codes stay where they are, and count for less by a power of two. All of it is exact.
#ifdef BITS4
#ifdef NF4
    let one_0 = vec4<u32>(1u) << (4u * place);
    let one_1 = one_0 << vec4<u32>(16u);
#else
    let mask_0 = vec4<u32>(15u) << (4u * place);
    let mask_1 = mask_0 << vec4<u32>(16u);
    let worth_0 = bitcast<vec4<f32>>((127u - 4u * place) << vec4<u32>(23u));
    let worth_1 = bitcast<vec4<f32>>((111u - 4u * place) << vec4<u32>(23u));
    // The last code has the sign's bit: flipped, what the word makes is 2^31 too little.
    let lift = select(vec4<f32>(), vec4<f32>(2147483648.0), place == vec4<u32>(3u));
#endif
#endif
#ifdef BITS8
    let mask = vec4<u32>(255u) << (8u * place);
    let worth = bitcast<vec4<f32>>((127u - 8u * place) << vec4<u32>(23u));
    // The last code has the word's sign. The others' own are flipped: they make 128 too much.
    let last = place == vec4<u32>(3u);
    let flip = select(vec4<u32>(128u) << (8u * place), vec4<u32>(), last);
    let lift = select(vec4<f32>(-128.0), vec4<f32>(), last);
#endif
