// gelu in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415) is x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3).
fn gelu_share(x: Numbers) -> Numbers {
    let u2 = 1.5957691216057308 * x * fma(0.044715 * x, x, Numbers(1.0));
    // What is far below 0 would overflow.
    return 1.0 / (1.0 + exp(min(-u2, Numbers(80.0))));
}
