// Where in its tile lane number $t of `a` is: at row ra$t, depth group qa$t. Neighbouring lanes read neighbours: along
// the depth where rows lie one beside another, else along the rows.
#ifdef V4
        let ra$t = (lane + $tu * SIZE) / $K4u;
        let qa$t = (lane + $tu * SIZE) % $K4u;
#else
        let ra$t = (lane + $tu * SIZE) % TILE_ROWS;
        let qa$t = (lane + $tu * SIZE) / TILE_ROWS;
#endif
        var xa$t: vec4<f32>;
