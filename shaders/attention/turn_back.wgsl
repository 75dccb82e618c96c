#import shared/rotate.wgsl

// The gradient of vec4 i of a head, of d4 of them, in front of the rotation by its row's position, if there was one.
fn turn_back(x: vec4<f32>, row: u32, i: u32, d4: u32) -> vec4<f32> {
    if params.turned == 0u {
        return x;
    }
    return rotate(x, table[positions[row] * d4 + i], -1.0);
}
