//! Test support: the f64 reference, `check_op` and the golden fixtures.

pub mod model_file;
