// A block of column j of nt.wgsl's `b`: its codes and its scales.
#ifdef CODED
#ifdef BITS4
        let w$j = codes[n$j * blocks + block];
#else
        let w$j_0 = codes[(n$j * blocks + block) * 2u];
        let w$j_1 = codes[(n$j * blocks + block) * 2u + 1u];
#endif
#ifdef G16
        let s$j_0 = scale_of((n$j * blocks + block) * 32u);
        let s$j_1 = scale_of((n$j * blocks + block) * 32u + 16u);
#else
        let s$j = scale_of((n$j * blocks + block) * 32u);
#endif
#endif
