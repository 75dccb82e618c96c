//! What the answers earn that a model writes in reinforcement: the [`Reward`] trait, rules, and a model that judges.

mod answer;
mod judge;
mod rules;

pub use answer::{Answer, Earned, Reward};
pub use judge::{Duel, Judge, JudgeReward, Verdict};
pub use rules::Rule;
