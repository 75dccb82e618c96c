//! What the answers earn that a model writes in reinforcement: the [`Reward`] trait, and rules that need no model.

mod answer;
mod rules;

pub use answer::{Answer, Earned, Reward};
pub use rules::Rule;
