// The scale of the lane's columns in row p of nn.wgsl's `b`, element `at`: with subgroups the lane of that row has it.
#ifdef SG4
        let s = s$g_$h_$q;
#else
#ifdef SG8
#ifdef G16
        let s = scale_of(at);
#else
        let in_first = at / GROUP == (p * params.cols + first_k) / GROUP;
        let s = select(subgroupBroadcast(own, $qu + 4u), subgroupBroadcast(own, $qu), in_first);
#endif
#else
        let s = scale_of(at);
#endif
#endif
