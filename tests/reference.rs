//! The engine's mathematics again, in f64 and as plainly as it can be said: each op forward and backward, and a whole
//! decoder with its tuning methods. It shares no code with the engine but the numbers of heads. Every backward is
//! itself checked by central differences.

mod activation;
mod adalora;
mod attention;
mod autograd;
mod choose;
mod decoder;
mod layers;
mod loss;
mod lstm;
mod matrix;
mod methods;
mod module;
mod optimizer;

pub use activation::{activation, activation_slope};
pub use adalora::{Allocator, Schedule};
pub use attention::{attention, attention_backward};
pub use autograd::{Function, Tape, Var};
pub use choose::{Choice, choose};
pub use decoder::{Adapter, Batch, Decoder, Lora, Target};
pub use layers::{
    dropout, dropout_keeps, embed, embed_backward, geglu, geglu_backward, rms_norm, rms_norm_backward, rope, swiglu,
    swiglu_backward,
};
pub use loss::{cross_entropy, log_sum_exp};
pub use lstm::{lstm, lstm_backward};
pub use matrix::Matrix;
pub use methods::{Method, Tensors};
pub use module::Module;
pub use optimizer::AdamW;

/// Step of the central differences.
const EPS: f64 = 1e-5;
/// How near an analytic derivative must be to the central difference, relative to the largest of its tensor.
const TOLERANCE: f64 = 1e-6;

/// Compares elements of `gradient`, the derivative of the scalar `f` at `x`, with central differences. At most
/// `samples` elements are tried, spread evenly.
///
/// # Panics
/// When one differs.
pub fn check_gradient(what: &str, x: &Matrix, gradient: &Matrix, samples: usize, mut f: impl FnMut(&Matrix) -> f64) {
    assert_eq!((x.rows, x.cols), (gradient.rows, gradient.cols), "{what}: a gradient has its value's shape");
    let count = x.data.len();
    let largest = gradient.data.iter().fold(0f64, |max, g| max.max(g.abs()));
    for sample in 0..samples.min(count) {
        let i = sample * count / samples.min(count);
        let mut at = |value: f64| {
            let mut moved = x.clone();
            moved.data[i] = value;
            f(&moved)
        };
        let (above, below) = (at(x.data[i] + EPS), at(x.data[i] - EPS));
        let difference = (above - below) / (2.0 * EPS);
        // The difference of two nearly equal numbers is only as good as their own rounding.
        let rounding = 1e-14 * (above.abs() + below.abs()) / EPS;
        let off = (difference - gradient.data[i]).abs();
        assert!(
            off <= TOLERANCE * largest + rounding,
            "{what}: element {i}: {} by formula, {difference} by central differences",
            gradient.data[i]
        );
    }
}
