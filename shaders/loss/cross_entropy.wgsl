// Negative log-likelihood of each row's label, and in place of the logits their gradient times the row's weight:
// nll = lse(logits) - logits[label]; dlogits = weight (softmax(logits) - onehot(label)). Of logits that were capped
// (cap.wgsl) the gradient is that of what they were before: z = cap tanh(z' / cap) / temperature has the slope
// (1 - (z share)^2) / temperature, share = temperature / cap.
// logits: [R, V], overwritten; labels, weights, nll: indexed from `first`. A label past V is a row without a target.
// variant plain: LANES=256
// variant v4: V4 LANES=256
#import shared/fours.wgsl

struct Params {
    vocab: u32,
    first: u32,
    // 0 and 1 where nothing was capped.
    share: f32,
    temperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<Numbers>;
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;

const LANES = $LANESu;
// Of all lanes, and of 16 groups of them: the highest number x that was seen, and the sum of exp(number - x).
var<workgroup> of_lanes: array<vec2<f32>, LANES>;
var<workgroup> of_groups: array<vec2<f32>, 16>;

#ifdef V4
fn highest(x: Numbers) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}
#else
fn highest(x: Numbers) -> f32 {
    return x;
}
#endif

// What two such pairs are of all their numbers. The higher one's sum stays as it is.
fn joined(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    if a.x < b.x {
        return vec2<f32>(b.x, fma(a.y, exp(a.x - b.x), b.y));
    }
    return vec2<f32>(a.x, fma(b.y, exp(b.x - a.x), a.y));
}

// One workgroup takes one row: it is read once for the sum, and once more to be overwritten.
@compute @workgroup_size($LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = params.first + group.x;
    let count = params.vocab / NUMBERS;
    let base = group.x * count;
    let label = labels[row];
    if label >= params.vocab {
        for (var i = lane; i < count; i += LANES) {
            logits[base + i] = Numbers();
        }
        if lane == 0u {
            nll[row] = 0.0;
        }
        return;
    }
    var top = highest(logits[base + min(lane, count - 1u)]);
    var sum = Numbers();
    for (var i = lane; i < count; i += LANES) {
        let value = logits[base + i];
        let higher = highest(value);
        if higher > top {
            sum *= exp(top - higher);
            top = higher;
        }
        sum += exp(value - top);
    }
    of_lanes[lane] = vec2<f32>(top, across(sum));
    workgroupBarrier();
    if lane < 16u {
        var all = of_lanes[lane];
        for (var other = lane + 16u; other < LANES; other += 16u) {
            all = joined(all, of_lanes[other]);
        }
        of_groups[lane] = all;
    }
    workgroupBarrier();
    var all = of_groups[0];
    for (var other = 1u; other < 16u; other++) {
        all = joined(all, of_groups[other]);
    }
    if lane == 0u {
#ifdef V4
        let own = logits[base + label / 4u][label % 4u];
#else
        let own = logits[base + label];
#endif
        nll[row] = log(all.y) - (own - all.x);
    }
    // The label's logit is read above and overwritten below by another lane.
    storageBarrier();
    workgroupBarrier();
    let weight = weights[row];
    for (var i = lane; i < count; i += LANES) {
        let z = logits[base + i];
        let p = exp(z - all.x) / all.y;
#ifdef V4
        let hit = vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(label);
#else
        let hit = i == label;
#endif
        let share = z * params.share;
        let slope = (1.0 - share * share) / params.temperature;
        logits[base + i] = weight * (p - select(Numbers(), Numbers(1.0), hit)) * slope;
    }
}
