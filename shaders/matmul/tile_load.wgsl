// How the tile forms of nt.wgsl and nn.wgsl read `a` and where they keep it.

// Where row `row` stands in depth group q of a tile. Lanes that store neighbours of the depth at a time go to different
// banks: rows change places within eight, otherwise in each group.
fn swapped(q: u32, row: u32) -> u32 {
    return row ^ (q * (8u / $K4u));
}

// Four numbers of a row of `a` from depth p on, zeros past the depth. Rows past the end are any: they are not written.
fn load_four(row: u32, p: u32) -> vec4<f32> {
#ifdef V4
    let x = a[(params.a_at + min(row, params.rows - 1u) * params.a_row + min(p, params.depth - 4u)) / 4u];
    return select(vec4<f32>(), x, p < params.depth);
#else
    return vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
#endif
}
