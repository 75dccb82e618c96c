// Rows read number by number, or (V4) four at a time, where they are a multiple of 4 long.
#ifdef V4
alias Numbers = vec4<f32>;
const NUMBERS = 4u;
fn across(x: Numbers) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}
#else
alias Numbers = f32;
const NUMBERS = 1u;
fn across(x: Numbers) -> f32 {
    return x;
}
#endif
