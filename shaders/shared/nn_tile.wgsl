// A block of nn.wgsl's sums with tiles of `a` and of the decoded `b` in workgroup memory, as nt_tile.wgsl has them.
#for t LA
#import shared/tile_a.wgsl
#endfor
#for t LB
            // Eight columns of a row of `b`.
            let eb$t = lane + $tu * SIZE;
            var b$t_0: vec4<f32>;
            var b$t_1: vec4<f32>;
            {
                // Rows past the depth meet zeros of `a`.
                let p = min(p0 + eb$t / (TILE_COLS / 8u), params.depth - 1u);
                let col = group.x * TILE_COLS + eb$t % (TILE_COLS / 8u) * 8u;
                let k = min(col, max(params.cols, 8u) - 8u);
#import shared/nn_load.wgsl
                b$t_0 = v0;
                b$t_1 = v1;
            }
#endfor
            workgroupBarrier();
#ifdef MATRIX
#for t LA
            put_a(ra$t * A_STRIDE + qa$t * 4u, xa$t);
#endfor
#for t LB
            {
                let at = eb$t / (TILE_COLS / 8u) * B_STRIDE + eb$t % (TILE_COLS / 8u) * 8u;
                put_b(at, b$t_0);
                put_b(at + 4u, b$t_1);
            }
#endfor
            workgroupBarrier();
#import shared/nn_matrix.wgsl
#else
#for t LA
            tile[qa$t * TILE_ROWS + swapped(qa$t, ra$t)] = xa$t;
#endfor
#for t LB
            tile_b[2u * eb$t] = b$t_0;
            tile_b[2u * eb$t + 1u] = b$t_1;
#endfor
            workgroupBarrier();
#for q K4
            {
#for i R
                let x$i = tile[$qu * TILE_ROWS + swapped($qu, lane / $Xu + $iu * ROWS_APART)];
#endfor
#for e 4
                {
#for h H
                    let v$h = tile_b[($qu * 4u + $eu) * (TILE_COLS / 4u) + lane % $Xu + $hu * $Xu];
#endfor
#for i R
#for h H
                    c$i_$h_0 = fma(vec4<f32>(x$i[$e]), v$h, c$i_$h_0);
#endfor
#endfor
                }
#endfor
            }
#endfor
#endif
