// Logits z under a soft cap, and then divided by a temperature, in place: z = cap tanh(z / cap) / temperature.

struct Params {
    count: u32,
    cap: f32,
    temperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;

#import shared/soft_cap.wgsl

// One invocation caps one logit.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i < params.count {
        logits[i] = capped(logits[i]) / params.temperature;
    }
}
