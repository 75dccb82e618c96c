// The lane's numbers of both tiles of nn.wgsl, of the depth from `next` on.
#for t LA
#import matmul/tile_a.wgsl
#endfor
#for t LB
            {
                // Rows past the depth meet zeros of `a`.
                let p = min(next + eb$t / (TILE_COLS / 8u), params.depth - 1u);
                let k = kb$t;
                let col = group.x * TILE_COLS + eb$t % (TILE_COLS / 8u) * 8u;
#import matmul/nn_load.wgsl
                b$t_0 = v0;
                b$t_1 = v1;
            }
#endfor
