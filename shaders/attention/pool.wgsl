// What forms for GPUs share. A workgroup has 16 lanes across and 8 down, and the 16 KiB that every device has. They hold
// by turns two chunks of 16 columns, so that one is loaded while the other is multiplied; what rows are reduced from;
// PART rows of weights, and the rows that they weigh.
const LANES = 128u;
const CHUNK = 512u;
var<workgroup> pool: array<vec4<f32>, 1024>;

// Where vec4 d of a chunk's row is. Lanes side by side store the four of a row, and read rows that lie side by side:
// neither meet in one bank.
fn place(d: u32, row: u32) -> u32 {
    return d * 64u + (row ^ (d * 2u));
}
