//! The settings of a run: its fields, what they may hold, and the table of the tuning methods.

mod choices;
pub mod config;
pub mod field;
mod method;
mod objective;
pub mod patterns;
pub mod reward;
pub mod target_modules;
