// dz of the LSTM cell, the gradient before the gates' functions, from the last step to the first; the derivation is in
// ops/lstm.rs. w: [4 H, H]; gates, dz: [n, 4 H]; cells, dy: [n, H]; carry: [H], the gradient that each cell's state
// hands to the step before.
#import shared/tanh.wgsl

struct Params {
    rows: u32,
    hidden: u32,
    reverse: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> gates: array<f32>;
@group(0) @binding(3) var<storage, read> cells: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dz: array<f32>;
@group(0) @binding(6) var<storage, read_write> carry: array<f32>;

// One workgroup walks all steps back. A lane takes every 256th unit, so that only it touches that unit's carry.
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let h = params.hidden;
    for (var back = 0u; back < params.rows; back++) {
        let step = params.rows - 1u - back;
        let row = select(step, back, params.reverse != 0u);
        let before = select(row - 1u, row + 1u, params.reverse != 0u);
        let after = select(row + 1u, row - 1u, params.reverse != 0u);
        for (var j = lane; j < h; j += 256u) {
            var dh = dy[row * h + j];
            var dc = 0.0;
            if back > 0u {
                for (var k = 0u; k < 4u * h; k++) {
                    dh = fma(w[k * h + j], dz[after * 4u * h + k], dh);
                }
                dc = carry[j];
            }
            let at = row * 4u * h + j;
            let i = gates[at];
            let f = gates[at + h];
            let g = gates[at + 2u * h];
            let o = gates[at + 3u * h];
            let state = tanh_of(cells[row * h + j]);
            dc = fma(dh * o, (1.0 - state) * (1.0 + state), dc);
            var cell = 0.0;
            if step > 0u {
                cell = cells[before * h + j];
            }
            dz[at] = dc * g * i * (1.0 - i);
            dz[at + h] = dc * cell * f * (1.0 - f);
            dz[at + 2u * h] = dc * i * (1.0 - g) * (1.0 + g);
            dz[at + 3u * h] = dh * state * o * (1.0 - o);
            carry[j] = dc * f;
        }
        // The step before reads what all lanes made of this one.
        storageBarrier();
        workgroupBarrier();
    }
}
