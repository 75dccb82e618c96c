// Adds chunk c - 1 of q k to the scores s of the lane's rows of the tile and 4 others: keys, or where the tile is of
// keys, queries.
                let own_chunk = (c + 1u) % 2u * CHUNK;
                let other_chunk = own_chunk + 256u;
                for (var d = 0u; d < 4u; d++) {
#for j 4
                    let k$j = pool[other_chunk + place(d, across + $j * 16)];
#endfor
                    let x = vec4<f32>(k0.x, k1.x, k2.x, k3.x);
                    let y = vec4<f32>(k0.y, k1.y, k2.y, k3.y);
                    let z = vec4<f32>(k0.z, k1.z, k2.z, k3.z);
                    let w = vec4<f32>(k0.w, k1.w, k2.w, k3.w);
#for h H
#for e 4
                    {
                        let a = pool[own_chunk + place(d, down * LANE_TILE + $h * 4 + $e)];
                        s$h_$e = fma(vec4<f32>(a.x), x, s$h_$e);
                        s$h_$e = fma(vec4<f32>(a.y), y, s$h_$e);
                        s$h_$e = fma(vec4<f32>(a.z), z, s$h_$e);
                        s$h_$e = fma(vec4<f32>(a.w), w, s$h_$e);
                    }
#endfor
#endfor
                }
