// Sum over the lanes of a workgroup, in a fixed order; every lane gets the result.
#ifdef SG
fn row_sum(lane: u32, value: f32) -> f32 {
    var sum = 0.0;
#for l SG
    sum += subgroupBroadcast(value, $lu);
#endfor
    return sum;
}
#else
#import shared/reduce.wgsl
fn row_sum(lane: u32, value: f32) -> f32 {
    return reduce_sum(lane, value);
}
#endif
