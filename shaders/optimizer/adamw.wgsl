// One AdamW step over the flat parameters (Loshchilov and Hutter 2019, arXiv:1711.05101), in PyTorch's order:
// p -= lr wd p; m += d1 (g - m); v += d2 (g^2 - v); p -= lr / c1 * m / (sqrt(v) / sqrt(c2) + eps). The first of these is
// for parameters that decay: bit b % 32 of decays[b / 32] says whether those of block b do, 64 parameters each.
// hyper: max_norm, lr, d1 = 1 - b1, d2 = 1 - b2, eps, wd, c1 = 1 - b1^t, sqrt(c2) with c2 = 1 - b2^t: a beta near 1
// would lose in f32 what is left of it. state: (norm, factor).

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> hyper: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<f32>;
@group(0) @binding(3) var<storage, read> decays: array<u32>;
@group(0) @binding(4) var<storage, read> grads: array<f32>;
@group(0) @binding(5) var<storage, read_write> p: array<f32>;
@group(0) @binding(6) var<storage, read_write> m: array<f32>;
@group(0) @binding(7) var<storage, read_write> v: array<f32>;

// One invocation updates one parameter.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    let block = i / 64u;
    // A factor of 0 marks a gradient that is not finite: the step is skipped whole.
    if i >= params.count || state[1] == 0.0 {
        return;
    }
    let g = grads[i] * state[1];
    let first = fma(hyper[2], g - m[i], m[i]);
    let second = fma(hyper[3], g * g - v[i], v[i]);
    m[i] = first;
    v[i] = second;
    let decay = select(0.0, hyper[5], extractBits(decays[block / 32u], block % 32u, 1u) == 1u);
    p[i] = p[i] * (1.0 - hyper[1] * decay) - hyper[1] / hyper[6] * first / (sqrt(second) / hyper[7] + hyper[4]);
}
