// Four subgroups of 32 lanes have 32 x 32 of a tile of 64 x 64 each, as four matrices of 16 x 16.
    let warp = lane / 32u;
    let row_of_warp = warp / 2u * 32u;
    let col_of_warp = warp % 2u * 32u;
    let stage = warp * 256u;
#for i 2
#for j 2
    var m$i_$j = coop_mat16x16<f32, C>();
#endfor
#endfor
