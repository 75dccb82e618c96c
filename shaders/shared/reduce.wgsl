// Sum over the 64 lanes of a workgroup, in a fixed order; every lane gets the result.
var<workgroup> partial: array<f32, 64>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    partial[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    return partial[0];
}
