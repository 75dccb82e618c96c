// A block of column j of nt.wgsl's `b`: its codes and its scales.
#ifdef Q4
        let w$j = codes[n$j * blocks + block];
        let s$j = scales[n$j * blocks + block];
#endif
#ifdef NF4
        let w$j = codes[n$j * blocks + block];
        let s$j = nf4_scale((n$j * blocks + block) * 32u);
#endif
#ifdef Q8
        let w$j_0 = codes[(n$j * blocks + block) * 2u];
        let w$j_1 = codes[(n$j * blocks + block) * 2u + 1u];
        let s$j = scales[n$j * blocks + block];
#endif
