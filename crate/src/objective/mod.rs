//! Training objectives: what each row of a batch must predict, and how much it weighs.

pub mod sft;
