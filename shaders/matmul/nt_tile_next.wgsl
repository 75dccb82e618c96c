// The lane's numbers of both tiles of nt.wgsl, of the depth from `next` on.
#for t LA
#import matmul/tile_a.wgsl
#endfor
#for t LB
        {
            let n = nb$t;
            let p = next + qb$t * 4u;
#import matmul/nt_tile_eight.wgsl
            b$t_0 = v0;
            b$t_1 = v1;
        }
#endfor
