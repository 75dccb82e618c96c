// A block of nn.wgsl's sums with a tile of `a` in workgroup memory.
            workgroupBarrier();
            for (var i = lane; i < $Ru * 4u; i += LANES) {
                let row = row0 + i / 4u;
                let p = p0 + (i % 4u) * 4u;
                tile[i] = vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
            }
            workgroupBarrier();
            for (var q = 0u; q < 4u; q++) {
#for i R
                let x$i = tile[$iu * 4u + q];
#endfor
#for e 4
                {
                    // Rows of `b` past the depth meet zeros of the tile.
                    let p = min(p0 + q * 4u + $eu, params.depth - 1u);
#import matmul/nn_load.wgsl
#for i R
                    c$i_0_0 = fma(vec4<f32>(x$i[$e]), v0, c$i_0_0);
                    c$i_0_1 = fma(vec4<f32>(x$i[$e]), v1, c$i_0_1);
#endfor
                }
#endfor
            }
