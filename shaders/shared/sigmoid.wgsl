// 1 / (1 + exp(-x)), with an exponential that stays finite.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(min(-x, 80.0)));
}
