// y = x / (1 - p) where the element is kept, 0 where it is dropped. The mask is a function of the counters, so the
// backward is this kernel again on the gradient, and nothing is stored.
#import shared/random.wgsl

struct Params {
    count: u32,
    site: u32,
    accumulate: u32,
    p: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counter: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// One invocation keeps or drops one element. `counter` holds (seed, micro-step).
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    var value = 0.0;
    if uniform_random(counter[0], counter[1], params.site, i) >= params.p {
        value = x[i] / (1.0 - params.p);
    }
    if params.accumulate != 0u {
        y[i] += value;
    } else {
        y[i] = value;
    }
}
