// y[t, c] = x[t, c] * rstd[t] * (gain[c] + offset), rstd = 1 / sqrt(mean_c x^2 + eps). x, y: [T, C]; rstd: [T].
// variant plain: LANES=64
// variant v4: V4 LANES=64
// variant v4_sg8: V4 SG=8 LANES=8
// variant v4_sg4: V4 SG=4 LANES=4
#import shared/fours.wgsl
#import rms_norm/row_sum.wgsl

struct Params {
    rows: u32,
    channels: u32,
    eps: f32,
    offset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Numbers>;
@group(0) @binding(2) var<storage, read> gain: array<Numbers>;
@group(0) @binding(3) var<storage, read_write> y: array<Numbers>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;

// One workgroup normalises one row.
@compute @workgroup_size($LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let count = params.channels / NUMBERS;
    let base = row * count;
    var sum = Numbers();
    for (var c = lane; c < count; c += $LANESu) {
        let value = x[base + c];
        sum = fma(value, value, sum);
    }
    let total = row_sum(lane, across(sum));
    let scale = 1.0 / sqrt(total / f32(params.channels) + params.eps);
    for (var c = lane; c < count; c += $LANESu) {
        y[base + c] = x[base + c] * scale * (gain[c] + params.offset);
    }
    if lane == 0u {
        rstd[row] = scale;
    }
}
