//! Values side by side, and columns of one.

use crate::gpu::{BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Beside {
    a: Var,
    b: Var,
    y: Var,
}

impl Tape<'_> {
    /// The columns of `a` `[T, n]` and then those of `b` `[T, m]`.
    pub fn beside(&mut self, a: Var, b: Var) -> Var {
        assert_eq!(self.rows(a), self.rows(b), "values of as many rows");
        let needs_grad = self.needs_grad(a) || self.needs_grad(b);
        let y = self.var(self.rows(a), self.cols(a) + self.cols(b), needs_grad);
        self.push(Beside { a, b, y }, needs_grad);
        y
    }
}

struct Columns {
    x: Var,
    first: usize,
    y: Var,
}

impl Tape<'_> {
    /// `count` columns of `x` `[T, n]` from column `first` on.
    pub fn columns(&mut self, x: Var, first: usize, count: usize) -> Var {
        assert!(first + count <= self.cols(x), "columns within the value");
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), count, needs_grad);
        self.push(Columns { x, first, y }, needs_grad);
        y
    }
}

impl Op for Columns {
    fn forward(&self, t: &mut Tape) {
        let (rows, width) = (t.rows(self.y), t.cols(self.y));
        copy_columns(t, rows, width, (t.value(self.x), t.cols(self.x), self.first), (t.value(self.y), width, 0), 0);
    }

    fn backward(&self, t: &mut Tape) {
        let (rows, width, dy) = (t.rows(self.y), t.cols(self.y), t.grad(self.y));
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            // The other columns are written by others, or by nobody.
            if accumulate == 0 {
                t.list.clear(dx);
            }
            copy_columns(t, rows, width, (dy, width, 0), (dx, t.cols(self.x), self.first), 1);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}

struct AddColumns {
    x: Var,
    first: usize,
    part: Var,
    y: Var,
}

impl Tape<'_> {
    /// `x` `[T, n]` with `part` `[T, m]` added to its columns from `first` on.
    pub fn add_columns(&mut self, x: Var, first: usize, part: Var) -> Var {
        assert!(first + self.cols(part) <= self.cols(x), "columns within the value");
        let needs_grad = self.needs_grad(x) || self.needs_grad(part);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        self.push(AddColumns { x, first, part, y }, needs_grad);
        y
    }
}

impl Op for AddColumns {
    fn forward(&self, t: &mut Tape) {
        let (rows, cols, width) = (t.rows(self.y), t.cols(self.y), t.cols(self.part));
        t.copy_buffer(rows * cols, t.value(self.x), t.value(self.y), 0);
        copy_columns(t, rows, width, (t.value(self.part), width, 0), (t.value(self.y), cols, self.first), 1);
    }

    fn backward(&self, t: &mut Tape) {
        let (rows, cols, width, dy) = (t.rows(self.y), t.cols(self.y), t.cols(self.part), t.grad(self.y));
        if let Some((dpart, accumulate)) = t.grad_target(self.part) {
            copy_columns(t, rows, width, (dy, cols, self.first), (dpart, width, 0), accumulate);
        }
        t.pass_grad(self.y, self.x);
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}

impl Beside {
    /// Each part with its first column in y.
    fn parts(&self, t: &Tape) -> [(Var, usize); 2] {
        [(self.a, 0), (self.b, t.cols(self.a))]
    }
}

/// Columns of a buffer: `(buffer, columns of it, first of them)`.
type Part = (BufferId, usize, usize);

/// Copies `width` columns of each of `rows` rows, or adds them to what is there.
fn copy_columns(t: &mut Tape, rows: usize, width: usize, from: Part, to: Part, accumulate: u32) {
    let count = rows * width;
    let params = kernels::beside_columns::Params {
        count: count as u32,
        width: width as u32,
        from_cols: from.1 as u32,
        from_first: from.2 as u32,
        to_cols: to.1 as u32,
        to_first: to.2 as u32,
        accumulate,
    };
    t.list.dispatch(&kernels::BESIDE_COLUMNS, &[from.0.into(), to.0.into()], &params, spread(count));
}

impl Op for Beside {
    fn forward(&self, t: &mut Tape) {
        let (rows, cols) = (t.rows(self.y), t.cols(self.y));
        for (part, first) in self.parts(t) {
            let width = t.cols(part);
            copy_columns(t, rows, width, (t.value(part), width, 0), (t.value(self.y), cols, first), 0);
        }
    }

    // Each part gets its columns of dy.
    fn backward(&self, t: &mut Tape) {
        let (rows, cols, dy) = (t.rows(self.y), t.cols(self.y), t.grad(self.y));
        for (part, first) in self.parts(t) {
            let width = t.cols(part);
            if let Some((dx, accumulate)) = t.grad_target(part) {
                copy_columns(t, rows, width, (dy, cols, first), (dx, width, 0), accumulate);
            }
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
