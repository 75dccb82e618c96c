// Four weights of that block, from depth $q2 * 16 + $q4 * 4 on.
#ifdef BITS4
            let u$j = vec4<u32>(w$j[($q2 * 4 + $q4) / 2]) >> (vec4<u32>(0u, 4u, 8u, 12u) + 16u * ($q4 % 2u));
#endif
#ifdef BITS8
            let u$j = w$j_$q2[$q4];
#endif
#ifdef G16
            let s$j = s$j_$q2;
#endif
#ifdef V4
            let at$j = min(block * 32u + $q2 * 16u + $q4 * 4u, params.depth - 4u);
#else
            let at$j = block * 32u + $q2 * 16u + $q4 * 4u;
#endif
#import matmul/nt_load.wgsl
