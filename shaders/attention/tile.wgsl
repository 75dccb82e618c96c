// Rows of a workgroup's tile (queries, or keys), those of a lane, and what they take of memory for each that they are
// weighed with, in vec4. A tile of half the rows (H=1) makes twice the workgroups, for a GPU that has not enough of
// them.
const TILE = 32u * $Hu;
const LANE_TILE = 4u * $Hu;
const LINE = 8u * $Hu;
