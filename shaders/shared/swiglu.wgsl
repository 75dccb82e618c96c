// The gradients of silu(gate) * up: with s = sigmoid(gate), dup = dy gate s and dgate = dy up s (1 + gate (1 - s)). The
// sum is one operation whatever a compiler makes of others: wherever this is done, it gives the same bits.
struct GateUp {
    gate: Numbers,
    up: Numbers,
}

fn swiglu_backward(gate: Numbers, up: Numbers, dy: Numbers) -> GateUp {
    let s = 1.0 / (1.0 + exp(-gate));
    return GateUp(dy * up * s * fma(gate, 1.0 - s, Numbers(1.0)), dy * gate * s);
}
