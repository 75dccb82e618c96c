// y (+)= x, the columns first..first + width of it times m / norms. x, y: [T, cols]; m, norms: [width]. On the gradient
// it is the backward to x.

struct Params {
    count: u32,
    cols: u32,
    first: u32,
    width: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> m: array<f32>;
@group(0) @binding(3) var<storage, read> norms: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// One invocation computes one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    // A column before the first wraps round to a large number.
    let c = i % params.cols - params.first;
    var value = x[i];
    // WGSL's division may be off in the last bits, and a fresh adapter must change none. A row of zeros has a norm of
    // zero, and must not become 0 / 0.
    if c < params.width && m[c] != norms[c] {
        value *= m[c] / max(norms[c], 1e-30);
    }
    if params.accumulate != 0u {
        y[i] += value;
    } else {
        y[i] = value;
    }
}
