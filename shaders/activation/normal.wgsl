// The distribution function of the normal distribution, to 1e-7 of its value in the tail below zero too, where 1 + erf
// would cancel: half of erfc by the fit of Press et al., Numerical Recipes, section 6.2.
fn normal(x: f32) -> f32 {
    // Past 14 it is 0 or 1 in f32, and the exponent is kept from running off.
    let z = 0.70710678 * min(abs(x), 14.0);
    let t = 1.0 / fma(0.5, z, 1.0);
    var p = fma(t, 0.17087277, -0.82215223);
    p = fma(t, p, 1.48851587);
    p = fma(t, p, -1.13520398);
    p = fma(t, p, 0.27886807);
    p = fma(t, p, -0.18628806);
    p = fma(t, p, 0.09678418);
    p = fma(t, p, 0.37409196);
    p = fma(t, p, 1.00002368);
    p = fma(t, p, -1.26551223);
    let tail = 0.5 * t * exp(p - z * z);
    return select(tail, 1.0 - tail, x > 0.0);
}
