// y[t] = scale table[ids[t]], or prompt[ids[t] - vocab] for the virtual tokens that prompt methods put before a segment. What
// is past the prompt's end, or past the table's where there is none, is zero.
// table: [V, C] in any encoding, here `rows` of its rows from `first` on: the first piece writes all of y, and others
// what is theirs. prompt: [n, C]; y: [T, C].
// every encoding

struct Params {
    channels: u32,
    vocab: u32,
    first: u32,
    rows: u32,
    tokens: u32,
    count: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> prompt: array<f32>;
@group(0) @binding(3) var<storage, read> codes: array<u32>;
#ifdef CODED
@group(0) @binding(4) var<storage, read> scales: array<Stored>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
#else
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
#endif
#import shared/weight.wgsl

// One invocation copies one element.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let token = ids[i / params.channels];
    let c = i % params.channels;
    if token >= params.first && token - params.first < params.rows {
        y[i] = params.scale * weight((token - params.first) * params.channels + c);
    } else if params.first > 0u {
        return;
    } else if token >= params.vocab && token - params.vocab < params.tokens {
        y[i] = prompt[(token - params.vocab) * params.channels + c];
    } else {
        y[i] = 0.0;
    }
}
