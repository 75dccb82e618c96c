// A block of nn.wgsl's sums with tiles of `a` and of the decoded `b` in workgroup memory, as nt_tile.wgsl has them.
            workgroupBarrier();
            for (var i = index; i < 512u; i += 64u) {
                let row = group.y * 64u + i / 32u * 4u;
                let p = p0 + i % 32u;
                tile[i % 32u * 16u + i / 32u] =
                    vec4<f32>(load_a(row, p), load_a(row + 1u, p), load_a(row + 2u, p), load_a(row + 3u, p));
            }
            for (var i = index; i < 256u; i += 64u) {
                // Rows of `b` past the depth meet zeros of the tile.
                let p = min(p0 + i / 8u, params.depth - 1u);
                let col = (group.x * LANES + i % 8u) * 8u;
#ifdef Q4
                let k = min(col, params.cols - 8u);
#endif
#ifdef NF4
                let k = min(col, params.cols - 8u);
#endif
#ifdef Q8
                let k = min(col, params.cols - 8u);
#endif
#import shared/nn_load.wgsl
                tile_b[2u * i] = v0;
                tile_b[2u * i + 1u] = v1;
            }
            workgroupBarrier();
            for (var q = 0u; q < DEPTH; q++) {
                let v0 = tile_b[q * 16u + lane * 2u];
                let v1 = tile_b[q * 16u + lane * 2u + 1u];
                let x0 = tile[q * 16u + index / LANES * 2u];
                let x1 = tile[q * 16u + index / LANES * 2u + 1u];
                c0_0 = fma(vec4<f32>(x0[0]), v0, c0_0);
                c0_1 = fma(vec4<f32>(x0[0]), v1, c0_1);
                c1_0 = fma(vec4<f32>(x0[1]), v0, c1_0);
                c1_1 = fma(vec4<f32>(x0[1]), v1, c1_1);
                c2_0 = fma(vec4<f32>(x0[2]), v0, c2_0);
                c2_1 = fma(vec4<f32>(x0[2]), v1, c2_1);
                c3_0 = fma(vec4<f32>(x0[3]), v0, c3_0);
                c3_1 = fma(vec4<f32>(x0[3]), v1, c3_1);
                c4_0 = fma(vec4<f32>(x1[0]), v0, c4_0);
                c4_1 = fma(vec4<f32>(x1[0]), v1, c4_1);
                c5_0 = fma(vec4<f32>(x1[1]), v0, c5_0);
                c5_1 = fma(vec4<f32>(x1[1]), v1, c5_1);
                c6_0 = fma(vec4<f32>(x1[2]), v0, c6_0);
                c6_1 = fma(vec4<f32>(x1[2]), v1, c6_1);
                c7_0 = fma(vec4<f32>(x1[3]), v0, c7_0);
                c7_1 = fma(vec4<f32>(x1[3]), v1, c7_1);
            }
