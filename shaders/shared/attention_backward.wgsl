#import shared/attention.wgsl

// Vec4 d of chunk c of a row: scaled queries, and behind them dout; keys, and behind them values.
fn load_row(c: u32, row: u32, head: u32, d: u32) -> vec4<f32> {
    if c < $Cu {
        return qkv[(row * (params.heads + 2u * params.kv_heads) + head) * $D4u + c * 4u + d] * params.scale;
    }
    return dout[(row * params.heads + head) * $D4u + (c - $Cu) * 4u + d];
}

fn load_key(c: u32, key: u32, kv_head: u32, d: u32) -> vec4<f32> {
    let head = params.heads + kv_head + select(0u, params.kv_heads, c >= $Cu);
    return qkv[(key * (params.heads + 2u * params.kv_heads) + head) * $D4u + c % $Cu * 4u + d];
}
