// dx of RMSNorm. With xhat = x rstd and g = dy (gain + offset): dx = rstd (g - xhat mean_c(g xhat)).
// variant plain: LANES=64
// variant v4: V4 LANES=64
// variant v4_sg8: V4 SG=8 LANES=8
// variant v4_sg4: V4 SG=4 LANES=4
#import shared/fours.wgsl
#import rms_norm/row_sum.wgsl

struct Params {
    rows: u32,
    channels: u32,
    accumulate: u32,
    offset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Numbers>;
@group(0) @binding(2) var<storage, read> gain: array<Numbers>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<Numbers>;
@group(0) @binding(5) var<storage, read_write> dx: array<Numbers>;

// One workgroup computes one row of dx.
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
    let scale = rstd[row];
    var sum = Numbers();
    for (var c = lane; c < count; c += $LANESu) {
        sum = fma(dy[base + c] * (gain[c] + params.offset), x[base + c] * scale, sum);
    }
    let mean = row_sum(lane, across(sum)) / f32(params.channels);
    for (var c = lane; c < count; c += $LANESu) {
        var value = scale * (dy[base + c] * (gain[c] + params.offset) - x[base + c] * scale * mean);
        if params.accumulate != 0u {
            value += dx[base + c];
        }
        dx[base + c] = value;
    }
}
