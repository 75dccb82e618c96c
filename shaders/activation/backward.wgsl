// dx (+)= dy f'(x), elementwise.
// variant relu: RELU
// variant gelu: GELU
// variant gelu_tanh: GELU_TANH
// variant silu: SILU
// variant tanh: TANH
// variant sigmoid: SIGMOID

struct Params {
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

#ifdef RELU
fn slope(x: f32) -> f32 {
    return select(0.0, 1.0, x > 0.0);
}
#endif
#ifdef GELU
#import activation/normal.wgsl

// With Phi and phi of the normal distribution, (x Phi)' = Phi + x phi. Past 13 phi is zero in f32, and its exponent is
// kept from running off.
fn slope(x: f32) -> f32 {
    let z = clamp(x, -13.0, 13.0);
    return fma(z, 0.39894228 * exp(-0.5 * z * z), normal(x));
}
#endif
#ifdef GELU_TANH
#import shared/fours.wgsl
#import shared/gelu.wgsl

fn slope(x: f32) -> f32 {
    return gelu_slope(x, gelu_share(x));
}
#endif
#ifdef SILU
#import shared/sigmoid.wgsl

// With s = sigmoid(x), (x s)' = s + x s (1 - s).
fn slope(x: f32) -> f32 {
    let s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}
#endif
#ifdef TANH
// 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = exp(-2 |x|), which does not cancel where the tanh is nearly 1.
fn slope(x: f32) -> f32 {
    let e = exp(-2.0 * min(abs(x), 40.0));
    return 4.0 * e / ((1.0 + e) * (1.0 + e));
}
#endif
#ifdef SIGMOID
// s (1 - s) = e / (1 + e)^2 with e = exp(-|x|), likewise.
fn slope(x: f32) -> f32 {
    let e = exp(-min(abs(x), 80.0));
    return e / ((1.0 + e) * (1.0 + e));
}
#endif

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let value = dy[i] * slope(x[i]);
    if params.accumulate != 0u {
        dx[i] += value;
    } else {
        dx[i] = value;
    }
}
