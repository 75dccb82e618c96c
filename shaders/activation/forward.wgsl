// y = f(x), elementwise.
// variant relu: RELU
// variant gelu: GELU
// variant gelu_tanh: GELU_TANH
// variant silu: SILU
// variant tanh: TANH
// variant sigmoid: SIGMOID

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#ifdef RELU
fn f(x: f32) -> f32 {
    return max(x, 0.0);
}
#endif
#ifdef GELU
#import activation/normal.wgsl

fn f(x: f32) -> f32 {
    return x * normal(x);
}
#endif
#ifdef GELU_TANH
#import shared/fours.wgsl
#import shared/gelu.wgsl

fn f(x: f32) -> f32 {
    return x * gelu_share(x);
}
#endif
#ifdef SILU
#import shared/sigmoid.wgsl

fn f(x: f32) -> f32 {
    return x * sigmoid(x);
}
#endif
#ifdef TANH
#import shared/tanh.wgsl

fn f(x: f32) -> f32 {
    return tanh_of(x);
}
#endif
#ifdef SIGMOID
#import shared/sigmoid.wgsl

fn f(x: f32) -> f32 {
    return sigmoid(x);
}
#endif

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i < params.count {
        y[i] = f(x[i]);
    }
}
