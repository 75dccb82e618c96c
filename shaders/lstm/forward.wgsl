// The LSTM cell, row after row: z = x[t] + w h', c = f c' + i g, h = o tanh(c), with i, f and o the sigmoids of their
// quarters of z, g the tanh of its own, and h' and c' of the step before, zero at first. x, gates: [n, 4 H], the gates
// in the order i f g o; w: [H, 4 H], transposed; y, of the h, and cells: [n, H]. `reverse` walks from the last row.
#import shared/sigmoid.wgsl
#import shared/tanh.wgsl

struct Params {
    rows: u32,
    hidden: u32,
    reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;
@group(0) @binding(5) var<storage, read_write> cells: array<f32>;

// One workgroup walks all steps: a step needs the whole state before it. A lane takes every 256th unit.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let h = params.hidden;
    for (var step = 0u; step < params.rows; step++) {
        let row = select(step, params.rows - 1u - step, params.reverse != 0u);
        let before = select(row - 1u, row + 1u, params.reverse != 0u);
        for (var j = lane; j < h; j += 256u) {
            let at = row * 4u * h + j;
            var z = vec4<f32>(x[at], x[at + h], x[at + 2u * h], x[at + 3u * h]);
            var cell = 0.0;
            if step > 0u {
                for (var k = 0u; k < h; k++) {
                    let column = k * 4u * h + j;
                    let weights = vec4<f32>(w[column], w[column + h], w[column + 2u * h], w[column + 3u * h]);
                    z = fma(weights, vec4<f32>(y[before * h + k]), z);
                }
                cell = cells[before * h + j];
            }
            let i = sigmoid(z.x);
            let f = sigmoid(z.y);
            let g = tanh_of(z.z);
            let o = sigmoid(z.w);
            cell = fma(f, cell, i * g);
            gates[at] = i;
            gates[at + h] = f;
            gates[at + 2u * h] = g;
            gates[at + 3u * h] = o;
            cells[row * h + j] = cell;
            y[row * h + j] = o * tanh_of(cell);
        }
        // The next step reads what all lanes made of this one.
        storageBarrier();
        workgroupBarrier();
    }
}
