// y = x, over far more than any cache holds: the most memory traffic that the adapter does.
// variant vec4: EACH=8

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

// One workgroup copies 64 * EACH vec4, which divide `count`.
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * (64u * $EACHu) + lane;
    if first < params.count {
#for i EACH
        y[first + $i * 64u] = x[first + $i * 64u];
#endfor
    }
}
