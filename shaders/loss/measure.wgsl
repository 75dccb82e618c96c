// What the logits of each row say, in four numbers: the label's log-probability z[label] - lse(z), the entropy
// lse(z) - sum_i p_i z_i, the mean of z, and 1 where the label is the first of the highest, 0 elsewhere.
// logits z: [R, V]; labels, measures: indexed from `first`. A label past V is a row without a target: zeros.
// variant plain: LANES=256
// variant v4: V4 LANES=256
#import shared/fours.wgsl

struct Params {
    vocab: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<Numbers>;
@group(0) @binding(3) var<storage, read_write> measures: array<vec4<f32>>;

const LANES = $LANESu;
// Of each lane: its highest number and where that stands first; then its sums.
var<workgroup> highest: array<f32, LANES>;
var<workgroup> places: array<u32, LANES>;
var<workgroup> sums: array<vec3<f32>, LANES>;

// One workgroup takes one row: it is read once for the highest number, and once more for the sums.
@compute @workgroup_size($LANES)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = params.first + group.x;
    let count = params.vocab / NUMBERS;
    let base = group.x * count;
    let label = labels[row];
    if label >= params.vocab {
        if lane == 0u {
            measures[row] = vec4<f32>();
        }
        return;
    }
    var top = -3.4e38;
    var place = params.vocab;
    for (var i = lane; i < count; i += LANES) {
        let value = logits[base + i];
#ifdef V4
        for (var j = 0u; j < 4u; j++) {
            if value[j] > top {
                top = value[j];
                place = 4u * i + j;
            }
        }
#else
        if value > top {
            top = value;
            place = i;
        }
#endif
    }
    highest[lane] = top;
    places[lane] = place;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = highest[lane + half];
            if other > highest[lane] || (other == highest[lane] && places[lane + half] < places[lane]) {
                highest[lane] = other;
                places[lane] = places[lane + half];
            }
        }
    }
    workgroupBarrier();
    top = highest[0];
    // Below the highest, so that nothing is large: the sums of exp(d), of exp(d) d, and of d.
    var weights = Numbers();
    var weighted = Numbers();
    var plain = Numbers();
    for (var i = lane; i < count; i += LANES) {
        let below = logits[base + i] - top;
        let weight = exp(below);
        weights += weight;
        weighted += weight * below;
        plain += below;
    }
    sums[lane] = vec3<f32>(across(weights), across(weighted), across(plain));
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        let all = sums[0];
#ifdef V4
        let own = logits[base + label / 4u][label % 4u];
#else
        let own = logits[base + label];
#endif
        let lse = log(all.x);
        let mean = top + all.z / f32(params.vocab);
        measures[row] = vec4<f32>((own - top) - lse, lse - all.y / all.x, mean, f32(places[0] == label));
    }
}
