// out[c] (+)= sum_t dy[t, first + c], the elements times those of x (VALUE), and times a number a row (ROWS) or the sum
// over a number a column (OVER). dy, x: [T, cols].
// variant one: ONE
// variant value: VALUE
// variant rows: VALUE FACTOR ROWS
// variant over: VALUE FACTOR OVER

struct Params {
    rows: u32,
    cols: u32,
    first: u32,
    count: u32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
#ifdef VALUE
@group(0) @binding(2) var<storage, read> x: array<f32>;
#endif
#ifdef FACTOR
@group(0) @binding(3) var<storage, read> factor: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#else
#ifdef VALUE
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#else
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#endif
#endif

// Few columns a workgroup and many lanes down each, so that a narrow value still keeps a GPU busy.
const COLS = 16u;
const LANES = 16u;
var<workgroup> partial: array<f32, 256>;

// One workgroup sums 16 columns, each in 16 interleaved parts that are then added up in a fixed order.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let c = group.x * COLS + index % COLS;
    let lane = index / COLS;
    // A column past the end sums the last one again and writes nothing.
    let at = params.first + min(c, params.count - 1u);
    var sum = 0.0;
    for (var row = lane; row < params.rows; row += LANES) {
        let i = row * params.cols + at;
#ifdef ONE
        sum += dy[i];
#endif
#ifdef ROWS
        sum = fma(dy[i], x[i] * factor[row], sum);
#else
#ifdef VALUE
        sum = fma(dy[i], x[i], sum);
#endif
#endif
    }
    partial[index] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            partial[index] += partial[index + half * COLS];
        }
        workgroupBarrier();
    }
    if lane == 0u && c < params.count {
        var value = partial[index];
#ifdef OVER
        // A column of zeros has a norm of zero and no direction: its sum is zero too, and must not become 0 / 0.
        value /= max(factor[c], 1e-30);
#endif
        if params.accumulate != 0u {
            value += out[c];
        }
        out[c] = value;
    }
}
