// The sums of nt.wgsl with tiles of `a` and of the decoded `b` in workgroup memory, 64 rows and 64 columns by 32: each
// number that is read is used eight times from a register, which is what GPUs want.
    let column = first + min(tile_index * TILE_COLS + lane, cols - 1u);
    for (var block = 0u; block < blocks; block++) {
        workgroupBarrier();
        for (var i = lane; i < 512u; i += 64u) {
            let row = group.y * 64u + i / 8u;
            let p = block * 32u + (i % 8u) * 4u;
            tile[(i % 8u) * 64u + i / 8u] =
                vec4<f32>(load_a(row, p), load_a(row, p + 1u), load_a(row, p + 2u), load_a(row, p + 3u));
        }
        {
#for j 1
            let n$j = column;
#import shared/nt_block.wgsl
#for q2 2
#for q4 4
            {
#import shared/nt_four.wgsl
                tile_b[($q2 * 4u + $q4) * 64u + lane] = v$j;
            }
#endfor
#endfor
#endfor
        }
        workgroupBarrier();
        for (var q = 0u; q < 8u; q++) {
#for i R
            let x$i = tile[q * 64u + lane / 8u + $i * 8u];
#endfor
#for j N
            {
                let v = tile_b[q * 64u + lane % 8u + $j * 8u];
#for i R
                c$i_$j = fma(v.w, x$i.w, fma(v.z, x$i.z, fma(v.y, x$i.y, fma(v.x, x$i.x, c$i_$j))));
#endfor
            }
#endfor
        }
    }
