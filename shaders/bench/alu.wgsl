// Independent chains of fused multiply-adds and nothing else: the most arithmetic that the adapter does.
// variant fma: CHAINS=2 UNROLL=32

struct Params {
    rounds: u32,
    scale: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

// One invocation advances CHAINS vec4 by UNROLL steps a round.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let scale = vec4<f32>(params.scale);
    let shift = vec4<f32>(params.shift);
#for i CHAINS
    var c$i = vec4<f32>(f32(id.x), f32(id.x + 1u), f32(id.x + 2u), $i.0);
#endfor
    for (var round = 0u; round < params.rounds; round++) {
#for step UNROLL
#for i CHAINS
        c$i = fma(c$i, scale, shift);
#endfor
#endfor
    }
    var sum = vec4<f32>(0.0);
#for i CHAINS
    sum += c$i;
#endfor
    out[id.x] = sum.x + sum.y + sum.z + sum.w;
}
