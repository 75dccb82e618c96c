// A soft cap c keeps a score s within c: it becomes c tanh(s/c) (Gemma 2, arXiv:2408.00118). A cap of 0 is none.

// tanh, whose built-in some drivers overflow in: a series near 0, where the other form would lose digits.
fn soft(x: f32) -> f32 {
    let square = x * x;
    let series = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))));
    let far = sign(x) * (1.0 - 2.0 / (exp(2.0 * min(abs(x), 20.0)) + 1.0));
    return select(far, series, abs(x) < 0.2);
}

fn capped(score: f32) -> f32 {
    if params.cap == 0.0 {
        return score;
    }
    return params.cap * soft(score / params.cap);
}

// The derivative of that, from its result.
fn capped_slope(score: f32) -> f32 {
    if params.cap == 0.0 {
        return 1.0;
    }
    let share = score / params.cap;
    return 1.0 - share * share;
}
