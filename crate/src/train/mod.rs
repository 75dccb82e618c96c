//! Training: a run's steps and what it reports.

pub mod checkpoint;
mod comparison;
mod estimate;
mod evaluation;
mod event;
pub mod lab;
mod measure;
mod optimizer;
mod pass;
mod recompute;
mod schedule;
mod score;
mod trainer;
mod trunk;
mod tune;

pub use comparison::{Comparison, Evaluated};
pub use estimate::{Estimate, estimate};
pub use evaluation::{Evaluation, evaluate};
pub use event::{Event, ExampleLoss, Score};
pub use optimizer::Optimizer;
pub use pass::Pass;
pub use schedule::Schedule;
pub use score::{agreement, prepare_for_scores, scores};
pub use trainer::{Trainer, at_once, penalty, prepare};
pub use trunk::Spill;
pub use tune::{TUNE_MS, tune_for, untuned};
