// Past 13 the share is 0 or 1 in f32, and the powers of x are kept from running off.
fn gelu_near(x: Numbers) -> Numbers {
    return clamp(x, Numbers(-13.0), Numbers(13.0));
}

// gelu in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415) is x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3).
fn gelu_share(x: Numbers) -> Numbers {
    let z = gelu_near(x);
    let u2 = 1.5957691216057308 * z * fma(0.044715 * z, z, Numbers(1.0));
    // What is far below 0 would overflow.
    let share = 1.0 / (1.0 + exp(min(-u2, Numbers(80.0))));
    return select(share, Numbers(0.0), x < Numbers(-13.0));
}

// Of g = x s with s = sigmoid(2 u): g' = s + x s (1 - s) 2 u', u' = sqrt(2/pi) (1 + 3 0.044715 x^2).
fn gelu_slope(x: Numbers, s: Numbers) -> Numbers {
    let z = gelu_near(x);
    let slope = 1.5957691216057308 * fma(0.134145 * z, z, Numbers(1.0));
    return fma(z * s * (1.0 - s), slope, s);
}
