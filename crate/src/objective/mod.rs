//! Objectives: what a step makes smaller. Supervised training says beforehand what each row weighs ([`sft`]). Every other
//! objective is a [`Loss`]: it is told what the model makes of the sequences, and says which way each log-probability, or
//! each score, is to move. The gradient of all of them is a weighted sum of the gradients of the tokens'
//! log-probabilities, which the loss head takes for any tuning method; so an objective has no kernel of its own.

pub mod advantage;
mod cpo;
mod distance;
mod dpo;
pub mod gae;
mod grpo;
mod kto;
mod logistic;
mod loss;
mod metrics;
mod orpo;
mod ppo;
mod reward;
mod rloo;
mod sequence;
pub mod sft;
mod simpo;
mod table;

pub use loss::{Loss, Needs, Slope, Step};
pub use metrics::Metrics;
pub use sequence::{Rollout, Sequence, Token};
pub use table::{create, loss_types};
