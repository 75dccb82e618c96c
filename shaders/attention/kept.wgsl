// Where the gradients of a tile's scores are kept, of 64 keys x 64 rows: of each head, and of each tile of keys, the tiles
// of rows from those keys on. Vec4 a of a key, of 16, has rows a, a + 16, a + 32 and a + 48.
fn kept_tile(head: u32, key_tile: u32, row_tile: u32) -> u32 {
    let before = key_tile - params.first / 64u;
    let tiles_before = before * (2u * params.row_tiles - before + 1u) / 2u;
    return (head * params.kept + tiles_before + row_tile - key_tile) * 1024u;
}
