//! Training: a run's steps and what it reports.

pub mod checkpoint;
mod comparison;
mod estimate;
mod evaluation;
mod event;
mod judged;
pub mod lab;
mod measure;
mod optimizer;
mod pass;
mod question;
mod recompute;
mod reinforce;
mod reward_model;
mod rollouts;
mod schedule;
mod score;
mod trainer;
mod trunk;
mod tune;
mod watch;

pub use comparison::{Comparison, Evaluated};
pub use estimate::{Estimate, estimate, estimate_run};
pub use evaluation::{Evaluation, evaluate};
pub use event::{Event, ExampleLoss, Score};
pub use optimizer::Optimizer;
pub use pass::Pass;
pub use question::{Question, questions};
pub use reward_model::RewardModel;
pub use rollouts::Rollouts;
pub use schedule::Schedule;
pub use score::{agreement, prepare_for_scores, scores};
pub use trainer::{Trainer, at_once, penalty, prepare};
pub use trunk::Spill;
pub use tune::{TUNE_MS, tune_for, untuned};
