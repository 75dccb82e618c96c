// Chooses the next token of each row of logits z, and tells its log-probability under softmax(z / T), with T = 1 where the
// temperature is 0: before the penalty and before anything is left out.
// z: [R, V]; keys: 64 random bits for each row; seen: a bit for each token of each row, [R, ceil(V / 32)], read where there is
// a penalty; chosen: the id, and the bits of the log-probability.
//
// A token is drawn by a race: each waits for a time that is exponentially distributed, with its weight as the rate, and the
// first wins, which it does with a probability in proportion to its weight (the Gumbel-max trick). So a token's number
// depends on nothing but the key and its id, and no sum over the vocabulary has an order.
#import shared/random.wgsl

struct Params {
    vocab: u32,
}

struct Settings {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> settings: Settings;
@group(0) @binding(2) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> seen: array<u32>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read_write> chosen: array<vec2<u32>>;

const LANES = 256u;
const LOWEST = -3.4028234e38;

var<workgroup> numbers: array<f32, LANES>;
var<workgroup> ids: array<u32, LANES>;
var<workgroup> sums: array<vec2<f32>, LANES>;
var<workgroup> all: vec2<f32>;

// A number, and the token that it is of.
struct Found {
    number: f32,
    id: u32,
}

var<workgroup> found: Found;

// A logit, less likely where its token was there before.
fn penalized(row: u32, id: u32) -> f32 {
    let logit = logits[row * params.vocab + id];
    let penalty = settings.repetition_penalty;
    if penalty != 1.0 {
        let words = (params.vocab + 31u) / 32u;
        if ((seen[row * words + id / 32u] >> (id % 32u)) & 1u) == 1u {
            return select(logit * penalty, logit / penalty, logit > 0.0);
        }
    }
    return logit;
}

// The highest number of all lanes, and the first token that has it.
fn highest(lane: u32, own: Found) -> Found {
    numbers[lane] = own.number;
    ids[lane] = own.id;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = numbers[lane + half];
            if other > numbers[lane] || (other == numbers[lane] && ids[lane + half] < ids[lane]) {
                numbers[lane] = other;
                ids[lane] = ids[lane + half];
            }
        }
    }
    if lane == 0u {
        found = Found(numbers[0], ids[0]);
    }
    return workgroupUniformLoad(&found);
}

// The sums over all lanes, the same for each, in a fixed order.
fn total(lane: u32, own: vec2<f32>) -> vec2<f32> {
    sums[lane] = own;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    if lane == 0u {
        all = sums[0];
    }
    return workgroupUniformLoad(&all);
}

// An integer for each number, in the same order.
fn ordered(number: f32) -> u32 {
    let bits = bitcast<u32>(number);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// Of the tokens that come at or after `least` in order: how many there are, and what they weigh.
fn held(lane: u32, row: u32, top: f32, temperature: f32, least: u32) -> vec2<f32> {
    var own = vec2<f32>();
    for (var id = lane; id < params.vocab; id += LANES) {
        let logit = penalized(row, id);
        if ordered(logit) >= least {
            own += vec2<f32>(1.0, exp((logit - top) / temperature));
        }
    }
    return total(lane, own);
}

// The highest place in the order, `first` or above, that still leaves so many tokens, or so much weight: what fewer of the
// likeliest do not reach. Tokens alike stay together.
fn reached(lane: u32, row: u32, top: f32, temperature: f32, first: u32, count: f32, weight: f32) -> u32 {
    var low = first;
    // One past the likeliest.
    var high = ordered(top) + 1u;
    var at_low = held(lane, row, top, temperature, low);
    var at_high = 0.0;
    // A single token between the two is the one.
    while high - low > 1u && at_low.x - at_high > 1.0 {
        let middle = low + (high - low) / 2u;
        let at_middle = held(lane, row, top, temperature, middle);
        if at_middle.x >= count && at_middle.y >= weight {
            low = middle;
            at_low = at_middle;
        } else {
            high = middle;
            at_high = at_middle.x;
        }
    }
    return low;
}

// One workgroup takes one row.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = group.x;
    let base = row * params.vocab;
    let greedy = settings.temperature <= 0.0;
    let temperature = select(settings.temperature, 1.0, greedy);
    var own = Found(LOWEST, 0u);
    for (var id = lane; id < params.vocab; id += LANES) {
        let logit = logits[base + id];
        if logit > own.number {
            own = Found(logit, id);
        }
    }
    var best = highest(lane, own);
    let top = best.number;
    var weight = 0.0;
    for (var id = lane; id < params.vocab; id += LANES) {
        weight += exp((logits[base + id] - top) / temperature);
    }
    let sum = total(lane, vec2<f32>(weight, 0.0)).x;
    if settings.repetition_penalty != 1.0 {
        own = Found(LOWEST, 0u);
        for (var id = lane; id < params.vocab; id += LANES) {
            let logit = penalized(row, id);
            if logit > own.number {
                own = Found(logit, id);
            }
        }
        best = highest(lane, own);
    }
    if !greedy {
        // Where what may be drawn begins in the order.
        var least = 0u;
        if settings.top_k > 0u && settings.top_k < params.vocab {
            least = reached(lane, row, best.number, temperature, least, f32(settings.top_k), 0.0);
        }
        if settings.top_p < 1.0 {
            let enough = settings.top_p * held(lane, row, best.number, temperature, least).y;
            least = reached(lane, row, best.number, temperature, least, 1.0, enough);
        }
        let key = keys[row];
        own = Found(LOWEST, best.id);
        for (var id = lane; id < params.vocab; id += LANES) {
            let logit = penalized(row, id);
            let below = (logit - best.number) / temperature;
            if ordered(logit) < least || exp(below) < settings.min_p {
                continue;
            }
            // Uniform in (0, 1), and fine near 0, where those that win are: then -ln(1 - u) is the time at a rate of 1.
            let u = min((f32(pcg(pcg(id ^ key.x) ^ key.y)) + 1.0) / 4294967296.0, 0.99999994);
            let time = select(-log(1.0 - u), u + 0.5 * u * u, u < 0.001);
            let lead = below - log(time);
            if lead > own.number {
                own = Found(lead, id);
            }
        }
        best = highest(lane, own);
    }
    if lane == 0u {
        let logp = (logits[base + best.id] - top) / temperature - log(sum);
        chosen[row] = vec2<u32>(best.id, bitcast<u32>(logp));
    }
}
