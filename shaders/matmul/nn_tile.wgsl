// A span of nn.wgsl's sums with tiles of `a` and of the decoded `b` in workgroup memory, as nt_tile.wgsl has them.
#for t LA
#import matmul/tile_places.wgsl
#endfor
#for t LB
        // Eight columns of a row of `b`.
        let eb$t = lane + $tu * SIZE;
        let kb$t = min(group.x * TILE_COLS + eb$t % (TILE_COLS / 8u) * 8u, max(params.cols, 8u) - 8u);
        var b$t_0: vec4<f32>;
        var b$t_1: vec4<f32>;
#endfor
        let past = min(span + SPAN, end);
        {
            let next = span;
#import matmul/nn_tile_next.wgsl
        }
        for (var p0 = span; p0 < past; p0 += DEPTH) {
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
#else
#for t LA
            tile[qa$t * TILE_ROWS + swapped(qa$t, ra$t)] = xa$t;
#endfor
#for t LB
            tile_b[2u * eb$t] = b$t_0;
            tile_b[2u * eb$t + 1u] = b$t_1;
#endfor
#endif
            workgroupBarrier();
            {
                // The last is read once more.
                let next = min(p0 + DEPTH, (past - 1u) / DEPTH * DEPTH);
#import matmul/nn_tile_next.wgsl
            }
#ifdef MATRIX
#import matmul/nn_matrix.wgsl
#else
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
        }
