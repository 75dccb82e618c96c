// NF4 with double quantization: format/nf4.rs has the layout of `scales`.

// The scale of the block of 64 that element `at` lies in.
fn nf4_scale(at: u32) -> f32 {
    let record = 256u + at / 4096u * 18u;
    let block = at / 64u % 64u;
    let code = extractBits(scales[record + 2u + block / 4u], block % 4u * 8u, 8u);
    // With the minimum, which never counts, between the product and the sum no compiler may round them as one: the bits
    // are the same on every device.
    let product = min(bitcast<f32>(scales[code]) * bitcast<f32>(scales[record]), 1e30);
    return product + bitcast<f32>(scales[record + 1u]);
}

// What four codes stand for before they are scaled, each with its lowest bit at `one`. Choosing costs less than a
// table, which would be in memory.
fn nf4_choose(code: vec4<u32>, one: vec4<u32>) -> vec4<f32> {
    let bit0 = (code & one) != vec4<u32>();
    let bit1 = (code & (2u * one)) != vec4<u32>();
    let bit2 = (code & (4u * one)) != vec4<u32>();
    let bit3 = (code & (8u * one)) != vec4<u32>();
    let pair0 = select(vec4<f32>(-1.0), vec4<f32>(-0.6961928), bit0);
    let pair1 = select(vec4<f32>(-0.52507305), vec4<f32>(-0.3949175), bit0);
    let pair2 = select(vec4<f32>(-0.28444138), vec4<f32>(-0.18477343), bit0);
    let pair3 = select(vec4<f32>(-0.091050036), vec4<f32>(0.0), bit0);
    let pair4 = select(vec4<f32>(0.0795803), vec4<f32>(0.1609302), bit0);
    let pair5 = select(vec4<f32>(0.2461123), vec4<f32>(0.33791524), bit0);
    let pair6 = select(vec4<f32>(0.44070983), vec4<f32>(0.562617), bit0);
    let pair7 = select(vec4<f32>(0.72295684), vec4<f32>(1.0), bit0);
    let four0 = select(pair0, pair1, bit1);
    let four1 = select(pair2, pair3, bit1);
    let four2 = select(pair4, pair5, bit1);
    let four3 = select(pair6, pair7, bit1);
    return select(select(four0, four1, bit2), select(four2, four3, bit2), bit3);
}

#ifdef SG8
// Eight lanes hold two of the sixteen numbers each and ask one another for them: on a processor that costs less.
var<private> nf4_own: vec2<f32>;

// Comes first.
fn nf4_share(lane: u32) {
    nf4_own = nf4_choose(vec4<u32>(lane, lane + 8u, 0u, 0u), vec4<u32>(1u)).xy;
}

fn nf4_ask(code: u32) -> f32 {
    let lane = code & 7u;
    return select(subgroupShuffle(nf4_own.x, lane), subgroupShuffle(nf4_own.y, lane), (code & 8u) != 0u);
}

fn nf4(code: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(nf4_ask(code.x), nf4_ask(code.y), nf4_ask(code.z), nf4_ask(code.w));
}
#else
fn nf4(code: vec4<u32>) -> vec4<f32> {
    return nf4_choose(code, vec4<u32>(1u));
}
#endif
