// What the matrix units make of the two tiles of halves, added to nt.wgsl's sums.
#for k 2
        {
            let a_at = row_of_warp * A_STRIDE + $ku * 16u;
            let b_at = col_of_warp * B_STRIDE + $ku * 16u;
#for i 2
            let a$i = coopLoadT<coop_mat16x16<f16, A>>(&half_a[a_at + $iu * 16u * A_STRIDE], A_STRIDE);
            let b$i = coopLoad<coop_mat16x16<f16, B>>(&half_b[b_at + $iu * 16u * B_STRIDE], B_STRIDE);
#endfor
#for i 2
#for j 2
            m$i_$j = coopMultiplyAdd(a$i, b$j, m$i_$j);
#endfor
#endfor
        }
#endfor
