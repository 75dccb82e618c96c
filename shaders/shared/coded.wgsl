// What codes are scaled by: format/encoding.rs has the encodings.
#ifdef NF4
#import shared/nf4.wgsl
alias Stored = u32;
alias Scale = f32;
const GROUP = 64u;
fn scale_of(at: u32) -> Scale {
    return nf4_scale(at);
}
#else
#ifdef MIN
// And by what they are lifted.
alias Scale = vec2<f32>;
#else
alias Scale = f32;
#endif
alias Stored = Scale;
#ifdef G16
const GROUP = 16u;
#else
const GROUP = 32u;
#endif
// The scale of the group that element `at` lies in.
fn scale_of(at: u32) -> Scale {
    return scales[at / GROUP];
}
#endif
