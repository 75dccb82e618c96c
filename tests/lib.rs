//! Test support: the f64 reference, `check_op`, the golden fixtures, and one pass to compare.

pub mod blocks;
pub mod check_op;
pub mod fuzz;
pub mod golden;
pub mod model_file;
pub mod models;
pub mod one_pass;
pub mod parity;
pub mod reference;
pub mod trl;
