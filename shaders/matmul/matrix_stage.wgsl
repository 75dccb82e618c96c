// One matrix of sums, to be written out by the lanes of its subgroup.
        workgroupBarrier();
        let m = m$i_$j;
        coopStoreT(m, &staged[stage], 16u);
        workgroupBarrier();
