// Query rows of a workgroup's tile, those of a lane, and what they take of memory for each key, in vec4. A tile of half
// the rows (H=1) makes twice the workgroups, for a GPU that has not enough of them.
const ROWS = 32u * $Hu;
const LANE_ROWS = 4u * $Hu;
const LINE = 8u * $Hu;
