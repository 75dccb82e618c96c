// The lane's four numbers $t of `a`, of the depth from `next` on.
        xa$t = load_four(group.y * TILE_ROWS + ra$t, next + qa$t * 4u);
