// Two pairs, each turned by its (cos, sin) of `turn`; sign -1 turns them back.
fn rotate(x: vec4<f32>, turn: vec4<f32>, sign: f32) -> vec4<f32> {
    return x * turn.xxzz + vec4<f32>(-x.y, x.x, -x.w, x.z) * (turn.yyww * sign);
}
