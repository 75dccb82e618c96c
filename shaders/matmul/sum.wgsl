// out[i, j] (+)= sum_z parts[z, i, j], in the order of z: what nn.wgsl made of a depth that was split.

struct Params {
    rows: u32,
    cols: u32,
    parts: u32,
    out_row: u32,
    out_col: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// One workgroup computes 64 numbers, row by row.
@compute @workgroup_size(64)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let count = params.rows * params.cols;
    if i >= count {
        return;
    }
    var sum = 0.0;
    for (var z = 0u; z < params.parts; z++) {
        sum += parts[z * count + i];
    }
    let at = i / params.cols * params.out_row + i % params.cols * params.out_col;
    if params.accumulate != 0u {
        sum += out[at];
    }
    out[at] = sum;
}
