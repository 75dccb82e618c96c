//! Training: the run's settings.

pub mod config;
pub mod field;
pub mod target_modules;
