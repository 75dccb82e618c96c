//! Row-major f64 matrices, with no more than the reference needs.

/// A matrix `[rows, cols]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Row after row.
    pub data: Vec<f64>,
}

impl Matrix {
    /// Some of the rows.
    pub fn some_rows(&self, rows: std::ops::Range<usize>) -> Self {
        let data = self.data[rows.start * self.cols..rows.end * self.cols].to_vec();
        Self { rows: rows.len(), cols: self.cols, data }
    }

    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// The exact f64 values of f32 numbers.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix of {rows} x {cols}");
        Self { rows, cols, data: values.iter().map(|&v| f64::from(v)).collect() }
    }

    /// Rounded to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.cols..][..self.cols]
    }

    /// One row, to write to.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.data[row * self.cols..][..self.cols]
    }

    /// `f` of every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { data: self.data.iter().map(|&v| f(v)).collect(), ..*self }
    }

    /// `f` of every pair of elements of two matrices of one shape.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "matrices of one shape");
        Self { data: self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect(), ..*self }
    }

    /// Some of the columns.
    pub fn columns(&self, range: std::ops::Range<usize>) -> Self {
        let data = (0..self.rows).flat_map(|row| self.row(row)[range.clone()].iter().copied()).collect();
        Self { rows: self.rows, cols: range.len(), data }
    }

    /// The columns of this one and then those of the other.
    pub fn beside(&self, other: &Self) -> Self {
        let row = |row| self.row(row).iter().chain(other.row(row)).copied();
        Self { rows: self.rows, cols: self.cols + other.cols, data: (0..self.rows).flat_map(row).collect() }
    }

    /// Every element times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        self.map(|v| v * factor)
    }

    /// The sum.
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// Sum of the products of corresponding elements.
    pub fn dot(&self, other: &Self) -> f64 {
        self.zip(other, |a, b| a * b).data.iter().sum()
    }

    /// The sum of each column, `[1, cols]`.
    pub fn column_sums(&self) -> Self {
        Self { rows: 1, cols: self.rows, data: vec![1.0; self.rows] }.times(self)
    }

    /// `self other^T`: `[n, k] [m, k]^T -> [n, m]`, what a linear layer computes.
    pub fn times_transposed(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.cols, "the inner dimension");
        let mut out = Self::zeros(self.rows, other.rows);
        for i in 0..self.rows {
            for j in 0..other.rows {
                out.data[i * other.rows + j] = self.row(i).iter().zip(other.row(j)).map(|(a, b)| a * b).sum();
            }
        }
        out
    }

    /// `self other`: `[n, k] [k, m] -> [n, m]`, a linear layer's input gradient.
    pub fn times(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows, "the inner dimension");
        let mut out = Self::zeros(self.rows, other.cols);
        for i in 0..self.rows {
            for p in 0..self.cols {
                let factor = self.row(i)[p];
                out.row_mut(i).iter_mut().zip(other.row(p)).for_each(|(out, b)| *out += factor * b);
            }
        }
        out
    }

    /// `self^T other`: `[k, n]^T [k, m] -> [n, m]`, a linear layer's weight gradient.
    pub fn transposed_times(&self, other: &Self) -> Self {
        assert_eq!(self.rows, other.rows, "the inner dimension");
        let mut out = Self::zeros(self.cols, other.cols);
        for p in 0..self.rows {
            for i in 0..self.cols {
                let factor = self.row(p)[i];
                out.row_mut(i).iter_mut().zip(other.row(p)).for_each(|(out, b)| *out += factor * b);
            }
        }
        out
    }
}
