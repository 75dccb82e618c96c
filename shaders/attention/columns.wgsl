// Vec4 of a head's columns whose sums one workgroup of a GPU's form has: those of a wider head are shared out.
const COLUMNS = min($D4u, 32u);
