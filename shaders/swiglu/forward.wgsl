// y = silu(gate) * up, or gelu(gate) * up, elementwise (Shazeer 2020, arXiv:2002.05202). x: [T, 2 F], gate before up; y: [T, F].
// variant plain:
// variant v4: V4
// variant gelu_plain: GELU
// variant gelu_v4: GELU V4
#import shared/fours.wgsl
#ifdef GELU
#import shared/gelu.wgsl
#endif

struct Params {
    // F and the elements of y, in Numbers.
    ffn: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Numbers>;
@group(0) @binding(2) var<storage, read_write> y: array<Numbers>;

// One invocation computes one element, or four.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i < params.count {
        let at = i + i / params.ffn * params.ffn;
        let gate = x[at];
#ifdef GELU
        y[i] = gate * gelu_share(gate) * x[at + params.ffn];
#else
        y[i] = gate / (1.0 + exp(-gate)) * x[at + params.ffn];
#endif
    }
}
