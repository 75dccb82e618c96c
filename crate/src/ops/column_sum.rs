//! Sums down the columns of a value: the gradient of a row of parameters that every row of the value uses.

use crate::gpu::{Binding, BufferId, Recorder, kernels};

/// What the elements of `dy` are multiplied by before they are summed.
pub(super) enum Times {
    /// 1.
    One,
    /// The elements of another value of the same shape.
    Value(BufferId),
    /// Those, and a number a row.
    Rows(BufferId, BufferId),
    /// Those of another value, and each sum is divided by the number of its column.
    Over(BufferId, BufferId),
}

/// `out[c] (+)= sum_t dy[t, first + c]`, times what [`Times`] says, for `count` columns of dy `[rows, cols]`.
pub(super) struct ColumnSum {
    pub rows: usize,
    pub cols: usize,
    pub first: usize,
    pub count: usize,
    pub dy: BufferId,
    pub times: Times,
    pub out: Binding,
    pub accumulate: u32,
}

impl ColumnSum {
    pub fn record(&self, list: &mut Recorder) {
        let (kernel, factors) = match self.times {
            Times::One => (&kernels::COLUMN_SUM_ADD_ONE, vec![]),
            Times::Value(x) => (&kernels::COLUMN_SUM_ADD_VALUE, vec![x]),
            Times::Rows(x, rows) => (&kernels::COLUMN_SUM_ADD_ROWS, vec![x, rows]),
            Times::Over(x, norms) => (&kernels::COLUMN_SUM_ADD_OVER, vec![x, norms]),
        };
        let params = kernels::column_sum_add::Params {
            rows: self.rows as u32,
            cols: self.cols as u32,
            first: self.first as u32,
            count: self.count as u32,
            accumulate: self.accumulate,
        };
        let mut bindings = vec![self.dy.into()];
        bindings.extend(factors.into_iter().map(Binding::from));
        bindings.push(self.out);
        list.weigh(4.0 * (self.rows * self.count) as f64);
        list.dispatch(kernel, &bindings, &params, [self.count.div_ceil(16) as u32, 1, 1]);
    }
}
