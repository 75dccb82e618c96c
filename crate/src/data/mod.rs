//! Data sets: the forms people keep them in, to examples, to packed batches of token ids.

pub mod batch;
pub mod example;
pub mod import;
mod json;
pub mod prompts;
pub mod render;
pub mod rollouts;
pub mod set;
pub mod warning;
pub mod windows;
