// The low-rank part of nt.wgsl, added to its sums.
    if params.rank > 0u && low_at != NONE {
        for (var r = 0u; r < params.rank; r++) {
#for j N
            let v$j = low_b[(low_row0 + n$j - first) * params.rank + r];
#endfor
#for i R
            {
                let low_row = min(row0 + $i * ROWS_APART, params.rows - 1u) * params.low_row;
                let x = params.low_scale * low[low_row + low_at + r];
#for j N
                c$i_$j = fma(v$j, x, c$i_$j);
#endfor
            }
#endfor
        }
    }
