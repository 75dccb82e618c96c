//! A tape of matrices that goes back over itself: what the methods are said in.

use std::ops::Range;

use tunesmith::ops::{Heads, Scoring};

use super::decoder::Target;
use super::layers::sigmoid;
use super::{
    Matrix, attention, attention_backward, cross_entropy, geglu, geglu_backward, rms_norm, rms_norm_backward, rope,
    swiglu, swiglu_backward,
};

/// A value on a [`Tape`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Var(usize);

/// From the gradient of a value to those of its inputs, in their order.
type Backward = Box<dyn Fn(&Matrix) -> Vec<Matrix>>;

struct Node {
    value: Matrix,
    inputs: Vec<Var>,
    backward: Backward,
}

/// Values in the order in which they were computed.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

/// A function of each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// max(x, 0).
    Relu,
    /// x times the normal distribution function of x.
    Gelu,
    /// x sigmoid(x).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Relu, Self::Gelu, Self::Silu, Self::Tanh, Self::Sigmoid];

    /// The value at `x`.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Gelu => x * normal(x),
            Self::Silu => x * sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(x),
        }
    }

    /// The derivative at `x`.
    pub fn slope(self, x: f64) -> f64 {
        let s = sigmoid(x);
        match self {
            Self::Relu => f64::from(u8::from(x > 0.0)),
            Self::Gelu => normal(x) + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt(),
            Self::Silu => s + x * s * (1.0 - s),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Sigmoid => s * (1.0 - s),
        }
    }
}

/// The normal distribution function, by its series of terms of one sign: 1/2 + density(x) (x + x^3/3 + x^5/15 + ...).
fn normal(x: f64) -> f64 {
    if x.abs() > 9.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

/// A row, a column or a single number repeated to a whole matrix.
fn spread(x: &Matrix, rows: usize, cols: usize) -> Matrix {
    assert!((x.rows == rows || x.rows == 1) && (x.cols == cols || x.cols == 1), "repeats to the other's shape");
    let data = (0..rows).flat_map(|i| (0..cols).map(move |j| x.row(i % x.rows)[j % x.cols])).collect();
    Matrix { rows, cols, data }
}

/// The gradient of [`spread`]: sums of what was repeated.
fn summed(dy: &Matrix, rows: usize, cols: usize) -> Matrix {
    let mut dx = Matrix::zeros(rows, cols);
    for i in 0..dy.rows {
        for j in 0..dy.cols {
            dx.row_mut(i % rows)[j % cols] += dy.row(i)[j];
        }
    }
    dx
}

fn transposed(x: &Matrix) -> Matrix {
    let data = (0..x.cols).flat_map(|j| (0..x.rows).map(move |i| x.row(i)[j])).collect();
    Matrix { rows: x.cols, cols: x.rows, data }
}

impl Tape {
    fn push(
        &mut self,
        value: Matrix,
        inputs: impl Into<Vec<Var>>,
        backward: impl Fn(&Matrix) -> Vec<Matrix> + 'static,
    ) -> Var {
        self.nodes.push(Node { value, inputs: inputs.into(), backward: Box::new(backward) });
        Var(self.nodes.len() - 1)
    }

    /// A value that depends on nothing.
    pub fn leaf(&mut self, value: Matrix) -> Var {
        self.push(value, [], |_| Vec::new())
    }

    /// What was computed.
    pub fn value(&self, var: Var) -> &Matrix {
        &self.nodes[var.0].value
    }

    fn copy(&self, var: Var) -> Matrix {
        self.value(var).clone()
    }

    /// The gradients of `y . dy` to some values.
    pub fn gradients(&self, y: Var, dy: Matrix, of: &[Var]) -> Vec<Matrix> {
        let zeros = |node: &Node| Matrix::zeros(node.value.rows, node.value.cols);
        let mut gradients: Vec<Matrix> = self.nodes.iter().map(zeros).collect();
        gradients[y.0] = dy;
        for (index, node) in self.nodes.iter().enumerate().rev() {
            for (input, gradient) in node.inputs.iter().zip((node.backward)(&gradients[index])) {
                gradients[input.0] = gradients[input.0].plus(&gradient);
            }
        }
        of.iter().map(|var| gradients[var.0].clone()).collect()
    }

    /// `a b^T`, what a linear layer of weight b makes of the rows of a.
    pub fn times_transposed(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.copy(a), self.copy(b));
        self.push(x.times_transposed(&y), [a, b], move |d| vec![d.times(&y), d.transposed_times(&x)])
    }

    /// `a b`.
    pub fn times(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.copy(a), self.copy(b));
        self.push(x.times(&y), [a, b], move |d| vec![d.times_transposed(&y), x.transposed_times(d)])
    }

    /// `a + b`, where b may be a row, a column or one number.
    pub fn plus(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.value(a), self.value(b));
        let (rows, cols) = (y.rows, y.cols);
        let sum = x.plus(&spread(y, x.rows, x.cols));
        self.push(sum, [a, b], move |d| vec![d.clone(), summed(d, rows, cols)])
    }

    /// `a b` element by element, where b may be a row, a column or one number.
    pub fn by(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.copy(a), self.copy(b));
        let whole = spread(&y, x.rows, x.cols);
        let product = |a: &Matrix, b: &Matrix| a.zip(b, |a, b| a * b);
        self.push(product(&x, &whole), [a, b], move |d| {
            vec![product(d, &whole), summed(&product(d, &x), y.rows, y.cols)]
        })
    }

    /// `factor a`.
    pub fn scaled(&mut self, a: Var, factor: f64) -> Var {
        self.push(self.value(a).scaled(factor), [a], move |d| vec![d.scaled(factor)])
    }

    /// A function of every element.
    pub fn map(&mut self, a: Var, f: Function) -> Var {
        let x = self.copy(a);
        self.push(x.map(|x| f.of(x)), [a], move |d| vec![d.zip(&x, |d, x| d * f.slope(x))])
    }

    /// `a^T`.
    pub fn transposed(&mut self, a: Var) -> Var {
        self.push(transposed(self.value(a)), [a], |d| vec![transposed(d)])
    }

    /// Some of the rows, in the order given: embeddings, rows in another order, one row.
    pub fn rows(&mut self, a: Var, rows: &[usize]) -> Var {
        let x = self.value(a);
        let (height, cols) = (x.rows, x.cols);
        let data = rows.iter().flat_map(|&row| x.row(row).iter().copied()).collect();
        let rows = rows.to_vec();
        self.push(Matrix { rows: rows.len(), cols, data }, [a], move |d| {
            let mut dx = Matrix::zeros(height, cols);
            for (from, &to) in rows.iter().enumerate() {
                dx.row_mut(to).iter_mut().zip(d.row(from)).for_each(|(to, d)| *to += d);
            }
            vec![dx]
        })
    }

    /// Some of the columns, in the order given.
    pub fn columns(&mut self, a: Var, columns: impl IntoIterator<Item = usize>) -> Var {
        let columns: Vec<usize> = columns.into_iter().collect();
        let a = self.transposed(a);
        let a = self.rows(a, &columns);
        self.transposed(a)
    }

    /// The rows of a and then those of b.
    pub fn above(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.value(a), self.value(b));
        assert_eq!(x.cols, y.cols, "rows of one width");
        let (rows, cols, split) = (x.rows + y.rows, x.cols, x.data.len());
        let (above, below) = (x.rows, y.rows);
        let data = [&x.data[..], &y.data].concat();
        self.push(Matrix { rows, cols, data }, [a, b], move |d| {
            let part = |rows, data: &[f64]| Matrix { rows, cols, data: data.to_vec() };
            vec![part(above, &d.data[..split]), part(below, &d.data[split..])]
        })
    }

    /// The columns of a and then those of b.
    pub fn beside(&mut self, a: Var, b: Var) -> Var {
        let (x, y) = (self.value(a), self.value(b));
        let (split, cols) = (x.cols, x.cols + y.cols);
        self.push(x.beside(y), [a, b], move |d| vec![d.columns(0..split), d.columns(split..cols)])
    }

    /// [`rms_norm`], whose gain's gradient is the sum of dy times what the gain multiplies.
    pub fn rms_norm(&mut self, x: Var, gain: Var, eps: f64) -> Var {
        let (h, g) = (self.copy(x), self.copy(gain));
        self.push(rms_norm(&h, &g, eps), [x, gain], move |d| {
            let plain = rms_norm(&h, &g.map(|_| 1.0), eps);
            vec![rms_norm_backward(&h, &g, eps, d), summed(&plain.zip(d, |y, d| y * d), 1, g.cols)]
        })
    }

    /// [`rope`].
    pub fn rope(&mut self, x: Var, positions: &[u32], head_dim: usize, base: f64) -> Var {
        let (value, positions) = (rope(self.value(x), positions, head_dim, base, 1.0), positions.to_vec());
        self.push(value, [x], move |d| vec![rope(d, &positions, head_dim, base, -1.0)])
    }

    /// [`attention`].
    pub fn attention(&mut self, [q, k, v]: [Var; 3], heads: Heads, scoring: Scoring, seen: &[Range<usize>]) -> Var {
        let [a, b, c] = [q, k, v].map(|var| self.copy(var));
        let seen = seen.to_vec();
        self.push(attention(&a, &b, &c, heads, scoring, &seen), [q, k, v], move |d| {
            attention_backward(&a, &b, &c, heads, scoring, &seen, d).into()
        })
    }

    /// [`swiglu`].
    pub fn swiglu(&mut self, gate: Var, up: Var) -> Var {
        let (g, u) = (self.copy(gate), self.copy(up));
        self.push(swiglu(&g, &u), [gate, up], move |d| swiglu_backward(&g, &u, d).into())
    }

    /// [`geglu`].
    pub fn geglu(&mut self, gate: Var, up: Var) -> Var {
        let (g, u) = (self.copy(gate), self.copy(up));
        self.push(geglu(&g, &u), [gate, up], move |d| geglu_backward(&g, &u, d).into())
    }

    /// The root of the sum of the squares of all elements, `[1, 1]`.
    pub fn norm(&mut self, a: Var) -> Var {
        let x = self.copy(a);
        let norm = x.dot(&x).sqrt();
        let value = Matrix { rows: 1, cols: 1, data: vec![norm] };
        self.push(value, [a], move |d| vec![x.scaled(d.data[0] / norm)])
    }

    /// The weighted sum of the targets' losses, `[1, 1]`.
    pub fn cross_entropy(&mut self, logits: Var, targets: &[Target]) -> Var {
        let x = self.value(logits);
        let (mut loss, mut slopes) = (0.0, Matrix::zeros(x.rows, x.cols));
        for target in targets {
            let (nll, slope) = cross_entropy(x.row(target.row), target.label);
            loss += target.weight * nll;
            slopes.row_mut(target.row).iter_mut().zip(slope).for_each(|(to, slope)| *to += target.weight * slope);
        }
        let value = Matrix { rows: 1, cols: 1, data: vec![loss] };
        self.push(value, [logits], move |d| vec![slopes.scaled(d.data[0])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::hash::uniform;
    use crate::reference::check_gradient;

    fn hashed(name: &str, (rows, cols): (usize, usize)) -> Matrix {
        Matrix::from_f32(rows, cols, &uniform(name, rows * cols, 1.5))
    }

    /// Checks the gradient to every input of what `f` computes from inputs of these shapes.
    fn check(what: &str, shapes: &[(usize, usize)], f: impl Fn(&mut Tape, &[Var]) -> Var) {
        let inputs: Vec<Matrix> =
            shapes.iter().enumerate().map(|(i, &shape)| hashed(&format!("autograd.{what}.{i}"), shape)).collect();
        let run = |inputs: &[Matrix]| {
            let mut tape = Tape::default();
            let vars: Vec<Var> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
            let y = f(&mut tape, &vars);
            (tape, vars, y)
        };
        let (tape, vars, y) = run(&inputs);
        let value = tape.value(y);
        let dy = hashed("autograd.dy", (value.rows, value.cols));
        for (i, gradient) in tape.gradients(y, dy.clone(), &vars).iter().enumerate() {
            check_gradient(&format!("{what}, input {i}"), &inputs[i], gradient, 40, |moved| {
                let mut inputs = inputs.clone();
                inputs[i] = moved.clone();
                let (tape, _, y) = run(&inputs);
                tape.value(y).dot(&dy)
            });
        }
    }

    #[test]
    fn gradients_are_those_of_central_differences() {
        check("a b^T", &[(4, 3), (5, 3)], |t, v| t.times_transposed(v[0], v[1]));
        check("a b", &[(4, 3), (3, 5)], |t, v| t.times(v[0], v[1]));
        for shape in [(4, 3), (1, 3), (4, 1), (1, 1)] {
            check("plus", &[(4, 3), shape], |t, v| t.plus(v[0], v[1]));
            check("by", &[(4, 3), shape], |t, v| t.by(v[0], v[1]));
        }
        check("scaled", &[(4, 3)], |t, v| t.scaled(v[0], -0.7));
        for function in Function::ALL {
            check(&format!("{function:?}"), &[(4, 3)], |t, v| t.map(v[0], function));
        }
        check("rows", &[(4, 3)], |t, v| t.rows(v[0], &[2, 0, 2, 3]));
        check("columns", &[(4, 3)], |t, v| t.columns(v[0], [2, 0, 2]));
        check("above", &[(4, 3), (2, 3)], |t, v| t.above(v[0], v[1]));
        check("beside", &[(4, 3), (4, 2)], |t, v| t.beside(v[0], v[1]));
        check("rms_norm", &[(4, 6), (1, 6)], |t, v| t.rms_norm(v[0], v[1], 1e-5));
        check("rope", &[(3, 8)], |t, v| t.rope(v[0], &[0, 5, 9], 4, 1e4));
        let (heads, seen) = (Heads { heads: 2, kv_heads: 1, head_dim: 4 }, [0..1, 0..3, 1..4]);
        for scoring in [Scoring::default(), Scoring { window: Some(2), soft_cap: Some(0.5) }] {
            let attention = |t: &mut Tape, v: &[Var]| t.attention([v[0], v[1], v[2]], heads, scoring, &seen);
            check("attention", &[(3, 8), (4, 4), (4, 4)], attention);
        }
        check("swiglu", &[(4, 3), (4, 3)], |t, v| t.swiglu(v[0], v[1]));
        check("geglu", &[(4, 3), (4, 3)], |t, v| t.geglu(v[0], v[1]));
        check("norm", &[(4, 3)], |t, v| t.norm(v[0]));
        let targets = [(0, 2, 0.5), (2, 0, 1.5)].map(|(row, label, weight)| Target { row, label, weight });
        check("cross-entropy", &[(3, 5)], |t, v| t.cross_entropy(v[0], &targets));
        // A value that is used twice, and one that the outcome does not depend on.
        check("twice", &[(3, 3), (2, 2)], |t, v| {
            t.map(v[1], Function::Tanh);
            let y = t.times(v[0], v[0]);
            t.by(y, v[0])
        });
    }

    #[test]
    fn gelu_is_that_of_the_error_function() {
        // erf(1 / sqrt(2)) and erf(sqrt(2)), from tables.
        for (x, erf) in [(1.0, 0.682_689_492_137_085_9), (2.0, 0.954_499_736_103_641_6)] {
            assert!((Function::Gelu.of(x) - x * (1.0 + erf) / 2.0).abs() < 1e-15);
            assert!((Function::Gelu.of(-x) + x * (1.0 - erf) / 2.0).abs() < 1e-15);
        }
        assert_eq!((Function::Gelu.of(40.0), Function::Gelu.of(-40.0), Function::Gelu.of(0.0)), (40.0, 0.0, 0.0));
    }
}
