// Sets the parameters to zero whose number in `gone` is not, over flat parameters.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gone: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

// One invocation takes one parameter.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i < params.count && gone[i] != 0.0 {
        values[i] = 0.0;
    }
}
