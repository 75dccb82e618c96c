// Negative log-likelihood of each row's label, and in place of the logits their gradient times the row's weight:
// nll = lse(logits) - logits[label]; dlogits = weight (softmax(logits) - onehot(label)).
// logits: [R, V], overwritten; labels, weights, nll: indexed from `first`. A label past V is a row without a target.
#import shared/reduce.wgsl

struct Params {
    vocab: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;

var<workgroup> highest: array<f32, 64>;

// One workgroup takes one row.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = params.first + group.x;
    let base = group.x * params.vocab;
    let label = labels[row];
    if label >= params.vocab {
        for (var i = lane; i < params.vocab; i += 64u) {
            logits[base + i] = 0.0;
        }
        if lane == 0u {
            nll[row] = 0.0;
        }
        return;
    }
    var top = logits[base + min(lane, params.vocab - 1u)];
    for (var i = lane; i < params.vocab; i += 64u) {
        top = max(top, logits[base + i]);
    }
    highest[lane] = top;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            highest[lane] = max(highest[lane], highest[lane + half]);
        }
        workgroupBarrier();
    }
    let m = highest[0];
    var sum = 0.0;
    for (var i = lane; i < params.vocab; i += 64u) {
        sum += exp(logits[base + i] - m);
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        nll[row] = log(total) - (logits[base + label] - m);
    }
    // The label's logit is read above and overwritten below by another lane.
    storageBarrier();
    workgroupBarrier();
    let weight = weights[row];
    for (var i = lane; i < params.vocab; i += 64u) {
        let p = exp(logits[base + i] - m) / total;
        logits[base + i] = weight * (p - select(0.0, 1.0, i == label));
    }
}
