//! Tuning methods: each overrides hooks of the forward pass and writes no derivative of its own.

mod adalora;
mod bitfit;
mod bottleneck;
mod dense;
mod full;
mod houlsby;
mod ia3;
pub mod io;
mod ln_tuning;
mod lora;
pub mod merge;
mod method;
mod p_tuning;
mod parameters;
mod prefix;
mod prompt;
mod saved;
pub mod score;
pub mod stream;
pub mod strength;
mod traits;
mod tuning;
mod unipelt;
mod window;

pub use method::create;
pub use parameters::{NamedParam, Parameters};
pub use traits::{AdapterFile, AfterStep, Mergeable, Peft, Training};
