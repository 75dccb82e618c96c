// What the matrix units make of the two tiles of halves, added to nn.wgsl's sums.
#for k 2
            {
#for i 2
                let a$i = coopLoadT<coop_mat16x16<f16, A>>(&half_a[(row_of_warp + $iu * 16u) * A_STRIDE + $ku * 16u], A_STRIDE);
                let b$i = coopLoadT<coop_mat16x16<f16, B>>(&half_b[$ku * 16u * B_STRIDE + col_of_warp + $iu * 16u], B_STRIDE);
#endfor
#for i 2
#for j 2
                m$i_$j = coopMultiplyAdd(a$i, b$j, m$i_$j);
#endfor
#endfor
            }
#endfor
