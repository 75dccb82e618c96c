//! One harness for every op: runs it through a tape on the GPU, forward and backward, and compares everything with the
//! f64 reference, whose backward is itself compared with central differences.
//!
//! Each case runs twice over: with its inputs as leaves, whose gradients add to what is there; and with interior values
//! as inputs of two copies of the op, where the first writer of a gradient assigns and the second adds. Each plan runs
//! twice, and must give the same bits although the arena then starts with what the first run left.

use tunesmith::format::encoding::Encoding;
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::nf4;
use tunesmith::format::quant::{dequantize, pack};
use tunesmith::gpu::{Buffer, Context, Features, Form};
use tunesmith::ops::{Parameter, Weight};
use tunesmith::tape::{Tape, Var};

use crate::blocks::blocks;
use crate::golden::hash::uniform;
use crate::reference::{Matrix, check_gradient};

/// The largest normalised mean squared error of f32 arithmetic.
pub const TOLERANCE: f64 = 1e-10;

/// Words around what a buffer holds. As an f32 and as two f16 it is NaN: read by mistake it spoils the result, written
/// over it is noticed.
const SENTINEL: u32 = 0xffff_ffff;
const SENTINELS: usize = 64;

/// The device. A test without one fails.
pub fn context() -> Context {
    pollster::block_on(Context::new()).expect("the tests need a GPU adapter, if only a software one")
}

/// A device for each form of the products: three without optional features, and, if the adapter has some that kernels are
/// chosen by, one with them.
pub fn contexts() -> Vec<Context> {
    contexts_in(&[Form::Plain, Form::Tile, Form::Small])
}

fn contexts_in(forms: &[Form]) -> Vec<Context> {
    let plain = |&form: &Form| {
        let context = pollster::block_on(Context::with(Features::Plain)).expect("the tests need a GPU adapter");
        context.force_form(Some(form));
        context
    };
    let fast = Some(context()).filter(|context| context.subgroup() > 0);
    forms.iter().map(plain).chain(fast).collect()
}

/// A buffer with sentinels after what it holds, and where it has an offset before it too.
pub struct Guarded {
    /// The whole buffer.
    pub buffer: Buffer,
    /// Where the data start, in words.
    pub offset: usize,
    words: usize,
}

impl Guarded {
    /// A buffer that holds `data`.
    pub fn new<T: bytemuck::Pod>(context: &Context, data: &[T]) -> Self {
        Self::at(context, 0, data)
    }

    /// A buffer that holds `data` from word `offset` on.
    pub fn at<T: bytemuck::Pod>(context: &Context, offset: usize, data: &[T]) -> Self {
        let words = size_of_val(data).div_ceil(4);
        let all = vec![SENTINEL; offset + words + SENTINELS];
        let guarded = Self { buffer: context.buffer_with("guarded", &all).unwrap(), offset, words };
        guarded.write(context, data);
        guarded
    }

    /// Replaces the data.
    pub fn write<T: bytemuck::Pod>(&self, context: &Context, data: &[T]) {
        assert_eq!(size_of_val(data), 4 * self.words);
        context.write(&self.buffer, 4 * self.offset as u64, data);
    }

    /// The data as they stand.
    ///
    /// # Panics
    /// When a sentinel changed, or the device failed.
    pub fn read(&self, context: &Context) -> Vec<f32> {
        let start = self.offset.saturating_sub(SENTINELS);
        let count = self.offset - start + self.words + SENTINELS;
        let all: Vec<u32> = pollster::block_on(context.read(&self.buffer, 4 * start as u64, count)).unwrap();
        let (before, rest) = all.split_at(self.offset - start);
        let (data, after) = rest.split_at(self.words);
        assert!(before.iter().chain(after).all(|&word| word == SENTINEL), "written outside of a buffer's data");
        data.iter().map(|&word| f32::from_bits(word)).collect()
    }
}

/// One input of an op.
#[derive(Clone)]
pub struct Input {
    kind: Kind,
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

#[derive(Clone)]
enum Kind {
    Leaf { grad: bool },
    Frozen { ty: GgmlType, blocks: Vec<u8> },
    Nf4 { codes: Vec<u32>, scales: Vec<u32> },
    Trained { after: bool },
}

impl Input {
    /// A value of the tape whose gradient is wanted.
    pub fn leaf(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        Self { kind: Kind::Leaf { grad: true }, rows, cols, values }
    }

    /// A value of the tape without a gradient.
    pub fn constant(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        Self { kind: Kind::Leaf { grad: false }, rows, cols, values }
    }

    /// A trainable weight.
    pub fn trained(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        Self { kind: Kind::Trained { after: false }, rows, cols, values }
    }

    /// A trainable weight that lies behind the input before it, in the same flat parameters.
    pub fn trained_after(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        Self { kind: Kind::Trained { after: true }, rows, cols, values }
    }

    /// A frozen weight, as a GGUF file holds it.
    pub fn frozen(rows: usize, cols: usize, ty: GgmlType, blocks: Vec<u8>) -> Self {
        let mut values = vec![0.0; rows * cols];
        dequantize(ty, &blocks, &mut values).unwrap();
        Self { kind: Kind::Frozen { ty, blocks }, rows, cols, values }
    }

    /// A frozen weight of a type of GGUF: see [`blocks`].
    pub fn of_type(rows: usize, cols: usize, ty: GgmlType, values: &[f32]) -> Self {
        Self::frozen(rows, cols, ty, blocks(ty, values))
    }

    /// A frozen weight that was quantized to NF4.
    pub fn nf4(rows: usize, cols: usize, values: &[f32]) -> Self {
        let (codes, scales) = nf4::quantize("values", "w", values).unwrap();
        let mut values = vec![0.0; rows * cols];
        nf4::dequantize(&codes, &scales, &mut values);
        Self { kind: Kind::Nf4 { codes, scales: scales.words() }, rows, cols, values }
    }

    /// A frozen weight of plain numbers.
    pub fn frozen_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        Self::of_type(rows, cols, GgmlType::F32, values)
    }

    /// The blocks of a frozen weight.
    pub fn blocks(&self) -> &[u8] {
        match &self.kind {
            Kind::Frozen { blocks, .. } => blocks,
            _ => panic!("only a frozen weight has blocks"),
        }
    }

    fn has_grad(&self) -> bool {
        matches!(self.kind, Kind::Leaf { grad: true } | Kind::Trained { .. })
    }

    fn matrix(&self) -> Matrix {
        Matrix::from_f32(self.rows, self.cols, &self.values)
    }
}

/// An input as the tape sees it.
pub enum Operand {
    /// A value.
    Var(Var),
    /// A weight.
    Weight(Weight),
}

impl Operand {
    /// The value.
    pub fn var(&self) -> Var {
        match self {
            Self::Var(var) => *var,
            Self::Weight(weight) => panic!("{} is a weight", weight.name),
        }
    }

    /// The weight.
    pub fn weight(&self) -> &Weight {
        match self {
            Self::Weight(weight) => weight,
            Self::Var(_) => panic!("a value is no weight"),
        }
    }
}

/// One op on one shape.
pub struct Case<'a> {
    /// Says what is tried, and seeds the gradient that comes in.
    pub name: String,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// Puts the op on a tape.
    pub build: &'a dyn Fn(&mut Tape, &[Operand]) -> Var,
    /// Its result in f64.
    pub forward: &'a dyn Fn(&[Matrix]) -> Matrix,
    /// The gradients to all inputs (whatever for those that want none), from the inputs and that of the result.
    pub backward: &'a dyn Fn(&[Matrix], &Matrix) -> Vec<Matrix>,
}

/// Tries one op.
pub struct Bench {
    /// The device.
    pub context: Context,
    op: &'static str,
    cases: usize,
    /// Worst errors, forward and backward.
    worst: [f64; 2],
}

/// Elements of each gradient that are compared with central differences.
const SAMPLES: usize = 6;

impl Bench {
    /// A bench for the op of this name.
    pub fn new(op: &'static str) -> Self {
        Self { context: context(), op, cases: 0, worst: [0.0; 2] }
    }

    /// A bench for each set of features that kernels of this op are chosen by: none, and, if the adapter has some, those.
    pub fn all(op: &'static str) -> Vec<Self> {
        Self::on(contexts(), op)
    }

    /// As [`Bench::all`], for an op that has these forms without optional features.
    pub fn of_forms(op: &'static str, forms: &[Form]) -> Vec<Self> {
        Self::on(contexts_in(forms), op)
    }

    fn on(contexts: Vec<Context>, op: &'static str) -> Vec<Self> {
        contexts.into_iter().map(|context| Self { context, op, cases: 0, worst: [0.0; 2] }).collect()
    }

    /// Runs one case.
    ///
    /// # Panics
    /// When anything differs by more than the tolerance.
    pub fn check(&mut self, case: &Case) {
        let x: Vec<Matrix> = case.inputs.iter().map(Input::matrix).collect();
        let y = (case.forward)(&x);
        let dy = uniform(&format!("{} {} dy", self.op, case.name), y.data.len(), 1.0);
        let dy = Matrix::from_f32(y.rows, y.cols, &dy);
        let dx = (case.backward)(&x, &dy);
        for (i, input) in case.inputs.iter().enumerate().filter(|(_, input)| input.has_grad()) {
            check_gradient(
                &format!("{} {}, input {i}", self.op, case.name),
                &input.matrix(),
                &dx[i],
                SAMPLES,
                |moved| {
                    let mut x = x.clone();
                    x[i] = moved.clone();
                    (case.forward)(&x).dot(&dy)
                },
            );
        }
        for copies in [1, 2] {
            self.run(case, copies, &y, &dx, &dy);
        }
        self.cases += 1;
    }

    fn run(&mut self, case: &Case, copies: usize, y: &Matrix, dx: &[Matrix], dy: &Matrix) {
        let context = self.context.clone();
        let mut t = Tape::new(&context);
        let mut operands = Vec::new();
        let mut grads = Vec::new();
        let mut flat = Flat::new(&context, &case.inputs);
        for (input, dx) in case.inputs.iter().zip(dx) {
            // Gradients add to numbers of their own size.
            let size = if is_zero(dx, dy) { rms(dy) } else { rms(dx) };
            let before = uniform(&format!("{} {} before", self.op, case.name), input.values.len(), size as f32);
            let (operand, grad) = place(&context, &mut t, input, &before, &case.inputs, &mut flat);
            operands.push(match operand {
                Operand::Var(leaf) if copies == 2 => {
                    let zero = Guarded::new(&context, &vec![0f32; input.values.len()]);
                    let zero = t.leaf(input.rows, input.cols, &zero.buffer, None);
                    Operand::Var(t.add(leaf, zero))
                }
                other => other,
            });
            grads.push(grad.map(|grad| (grad, before)));
        }
        let mut result = (case.build)(&mut t, &operands);
        for _ in 1..copies {
            let again = (case.build)(&mut t, &operands);
            result = t.add(result, again);
        }
        assert_eq!((t.rows(result), t.cols(result)), (y.rows, y.cols), "{} {}: the shape", self.op, case.name);
        let out = Guarded::new(&context, &vec![f32::NAN; y.data.len()]);
        t.keep(result, &out.buffer);
        let seed = Guarded::new(&context, &dy.to_f32());
        t.seed_grad(result, &seed.buffer);
        t.backward();
        let plan = t.finish(&context).unwrap();
        let run = || -> Vec<Vec<f32>> {
            for (grad, before) in grads.iter().flatten() {
                grad.write(&context, before);
            }
            plan.run(0);
            let all = std::iter::once(&out).chain(grads.iter().flatten().map(|(grad, _)| grad));
            all.map(|buffer| buffer.read(&context)).collect()
        };
        let (first, second) = (run(), run());
        let bits = |run: &[Vec<f32>]| run.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&first) == bits(&second), "{} {}: two runs differ", self.op, case.name);
        context.check().unwrap();

        let copies = copies as f64;
        let mut results = first.iter();
        let got = Matrix::from_f32(y.rows, y.cols, results.next().expect("the result"));
        self.compare(case, "result", 0, &got, &y.scaled(copies), dy);
        for (i, (_, before)) in grads.iter().enumerate().filter_map(|(i, grad)| grad.as_ref().map(|grad| (i, grad))) {
            let dx = &dx[i];
            let got = Matrix::from_f32(dx.rows, dx.cols, results.next().expect("a gradient for each that is wanted"));
            let got = got.zip(&Matrix::from_f32(dx.rows, dx.cols, before), |after, before| after - before);
            self.compare(case, &format!("gradient {i}"), 1, &got, &dx.scaled(copies), dy);
        }
    }

    fn compare(&mut self, case: &Case, what: &str, direction: usize, got: &Matrix, want: &Matrix, dy: &Matrix) {
        let error = nmse(got, want, if direction == 1 && is_zero(want, dy) { dy } else { want });
        assert!(error <= TOLERANCE, "{} {}: {what}: an error of {error:.1e}", self.op, case.name);
        self.worst[direction] = self.worst[direction].max(error);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let [forward, backward] = self.worst;
        eprintln!("{}: {} cases, worst NMSE {forward:.1e} forward, {backward:.1e} backward", self.op, self.cases);
    }
}

/// Flat parameters with sentinels around each, for trained inputs in turn.
struct Flat {
    values: Buffer,
    grads: Buffer,
    next: usize,
}

impl Flat {
    fn new(context: &Context, inputs: &[Input]) -> Self {
        let room = |input: &Input| input.values.len().next_multiple_of(SENTINELS) + 2 * SENTINELS;
        let words = inputs.iter().map(room).sum();
        let buffer = || context.buffer_with("flat", &vec![SENTINEL; words]).unwrap();
        Self { values: buffer(), grads: buffer(), next: 0 }
    }
}

/// Uploads an input, its gradient `before` the run.
fn place(
    context: &Context,
    t: &mut Tape,
    input: &Input,
    before: &[f32],
    inputs: &[Input],
    flat: &mut Flat,
) -> (Operand, Option<Guarded>) {
    let (rows, cols) = (input.rows, input.cols);
    match &input.kind {
        Kind::Leaf { grad } => {
            let values = Guarded::new(context, &input.values);
            let grad = grad.then(|| Guarded::new(context, before));
            let leaf = t.leaf(rows, cols, &values.buffer, grad.as_ref().map(|grad| &grad.buffer));
            (Operand::Var(leaf), grad)
        }
        Kind::Frozen { ty, blocks } => {
            let packed = pack(*ty, blocks).unwrap();
            let codes = Guarded::new(context, &packed.codes).buffer;
            let scales = (!packed.scales.is_empty()).then(|| Guarded::new(context, &packed.scales).buffer);
            (Operand::Weight(Weight::frozen("frozen", rows, cols, packed.encoding, codes, scales)), None)
        }
        Kind::Nf4 { codes, scales } => {
            let (codes, scales) = (Guarded::new(context, codes).buffer, Guarded::new(context, scales).buffer);
            (Operand::Weight(Weight::frozen("frozen", rows, cols, Encoding::Nf4, codes, Some(scales))), None)
        }
        Kind::Trained { after } => {
            // One that stands alone has buffers of its own, so that no kernel can lean on what lies beside it.
            if !after {
                *flat = Flat::new(context, inputs);
            }
            let offset = flat.next + SENTINELS;
            flat.next = offset + input.values.len().next_multiple_of(SENTINELS);
            let piece = |buffer: &Buffer| Guarded { buffer: buffer.clone(), offset, words: input.values.len() };
            piece(&flat.values).write(context, &input.values);
            let grads = piece(&flat.grads);
            grads.write(context, before);
            let parameter = Parameter { values: flat.values.clone(), grads: flat.grads.clone(), offset };
            (Operand::Weight(Weight::trained("trained", rows, cols, parameter)), Some(grads))
        }
    }
}

fn rms(x: &Matrix) -> f64 {
    (x.dot(x) / x.data.len() as f64).sqrt()
}

/// A gradient that is zero in exact arithmetic (that of a softmax over one key) has no size of its own: what rounding
/// leaves of it is measured against the gradient that came in.
fn is_zero(dx: &Matrix, dy: &Matrix) -> bool {
    rms(dx) < 1e-12 * rms(dy)
}

/// The mean squared error, normalised by the mean square of `size`. Infinite where anything is not finite.
pub fn nmse(got: &Matrix, want: &Matrix, size: &Matrix) -> f64 {
    let off = rms(&got.zip(want, |a, b| a - b));
    let ratio = if off == 0.0 { 0.0 } else { (off / rms(size)).powi(2) };
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

/// A trained weight of `values`, with its gradient, in which `before` is.
pub fn trained(context: &Context, rows: usize, cols: usize, values: &[f32], before: &[f32]) -> (Weight, Guarded) {
    let (values, grads) = (Guarded::at(context, 64, values), Guarded::at(context, 64, before));
    let parameter = Parameter { values: values.buffer.clone(), grads: grads.buffer.clone(), offset: 64 };
    (Weight::trained("trained", rows, cols, parameter), grads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "written outside")]
    fn a_kernel_that_writes_too_far_is_noticed() {
        let context = context();
        let (from, to) = (Guarded::new(&context, &[1f32; 64]), Guarded::new(&context, &[0f32; 32]));
        let mut t = Tape::new(&context);
        let x = t.leaf(1, 33, &from.buffer, None);
        let y = t.leaf(1, 32, &to.buffer, None);
        t.copy(x, y);
        t.finish(&context).unwrap().run(0);
        to.read(&context);
    }

    #[test]
    #[should_panic(expected = "an error of")]
    fn a_wrong_gradient_is_noticed() {
        let input = || Input::leaf(2, 3, vec![0.5; 6]);
        Bench::new("a wrong op").check(&Case {
            name: "a sum for a product".into(),
            inputs: vec![input(), input()],
            build: &|t, at| t.add(at[0].var(), at[1].var()),
            forward: &|x| x[0].zip(&x[1], |a, b| a * b),
            backward: &|x, dy| vec![x[1].zip(dy, |b, dy| b * dy), x[0].zip(dy, |a, dy| a * dy)],
        });
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        let row = |data: [f64; 2]| Matrix { rows: 1, cols: 2, data: data.into() };
        assert_eq!(nmse(&row([f64::NAN, 0.0]), &row([1.0, 0.0]), &row([1.0, 0.0])), f64::INFINITY);
        assert_eq!(nmse(&row([0.0; 2]), &row([0.0; 2]), &row([0.0; 2])), 0.0);
        assert_eq!(nmse(&row([1.0, 0.0]), &row([0.0; 2]), &row([0.0; 2])), f64::INFINITY);
        assert_eq!(nmse(&row([3.0, 1.0]), &row([2.0, 2.0]), &row([2.0, 2.0])), 0.25);
    }
}
