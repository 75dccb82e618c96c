// The sums of nt.wgsl with tiles of `a` and of the decoded `b` in workgroup memory: each number that is read is used R
// or N times from a register, which is what GPUs want. What comes next is on its way while this is multiplied: it is
// read in the same straight code, and kept when all are done.
#for t LA
#import matmul/tile_places.wgsl
#endfor
#for t LB
    // Eight weights of a column.
    let rb$t = (lane + $tu * SIZE) / ($K4u / 2u);
    let qb$t = (lane + $tu * SIZE) % ($K4u / 2u) * 2u;
    let nb$t = first + min(tile_index * TILE_COLS + rb$t, cols - 1u);
    var b$t_0: vec4<f32>;
    var b$t_1: vec4<f32>;
#endfor
    {
        let next = 0u;
#import matmul/nt_tile_next.wgsl
    }
    for (var p0 = 0u; p0 < params.depth; p0 += DEPTH) {
        workgroupBarrier();
#ifdef MATRIX
#for t LA
        put_a(ra$t * A_STRIDE + qa$t * 4u, xa$t);
#endfor
#for t LB
        put_b(rb$t * B_STRIDE + qb$t * 4u, b$t_0);
        put_b(rb$t * B_STRIDE + qb$t * 4u + 4u, b$t_1);
#endfor
#else
#for t LA
        tile[qa$t * TILE_ROWS + swapped(qa$t, ra$t)] = xa$t;
#endfor
#for t LB
        tile_b[qb$t * TILE_COLS + swapped(qb$t, rb$t)] = b$t_0;
        tile_b[(qb$t + 1u) * TILE_COLS + swapped(qb$t + 1u, rb$t)] = b$t_1;
#endfor
#endif
        workgroupBarrier();
        {
            // The last is read once more.
            let next = min(p0 + DEPTH, (params.depth - 1u) / DEPTH * DEPTH);
#import matmul/nt_tile_next.wgsl
        }
#ifdef MATRIX
#import matmul/nt_matrix.wgsl
#else
#for q K4
        {
#for i R
            let x$i = tile[$qu * TILE_ROWS + swapped($qu, lane / LANES + $iu * ROWS_APART)];
#endfor
#for j N
            {
                let v = tile_b[$qu * TILE_COLS + swapped($qu, lane % LANES + $ju * LANES)];
#for i R
                c$i_$j = fma(v.w, x$i.w, fma(v.z, x$i.z, fma(v.y, x$i.y, fma(v.x, x$i.x, c$i_$j))));
#endfor
            }
#endfor
        }
#endfor
#endif
    }
