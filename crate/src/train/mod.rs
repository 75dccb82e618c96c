//! Training: the run's settings, its steps and what it reports.

pub mod checkpoint;
pub mod config;
mod estimate;
mod evaluation;
mod event;
pub mod field;
pub mod lab;
mod optimizer;
mod pass;
pub mod patterns;
mod schedule;
pub mod target_modules;
mod trainer;
mod trunk;
mod tune;

pub use estimate::{Estimate, estimate};
pub use evaluation::{Evaluation, evaluate};
pub use event::{Event, ExampleLoss};
pub use optimizer::Optimizer;
pub use pass::Pass;
pub use schedule::Schedule;
pub use trainer::{Trainer, penalty, prepare};
pub use trunk::Spill;
pub use tune::{TUNE_MS, tune_for, untuned};
