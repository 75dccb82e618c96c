// dtable[i] += scale sum over the rows t with ids[t] = i of dy[t]. dy: [T, C]; dtable: [V, C]. Ids past V are no rows of it.
#import shared/reduce.wgsl

struct Params {
    channels: u32,
    vocab: u32,
    rows: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;

// One workgroup takes one row of dy. If no row before it has the same id, it adds that row and all later ones of the
// same id, in order: no atomics, the same bits every time.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let token = ids[group.x];
    var before = 0.0;
    for (var row = lane; row < group.x; row += 64u) {
        if ids[row] == token {
            before += 1.0;
        }
    }
    if reduce_sum(lane, before) > 0.0 || token >= params.vocab {
        return;
    }
    for (var row = group.x; row < params.rows; row++) {
        if ids[row] == token {
            for (var c = lane; c < params.channels; c += 64u) {
                dtable[token * params.channels + c] += params.scale * dy[row * params.channels + c];
            }
        }
    }
}
