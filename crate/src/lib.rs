//! Tunesmith: fine-tune a language model in a browser tab, or headless through wgpu.
#![deny(missing_docs)]

pub mod data;
pub mod error;
pub mod format;
pub mod text;
pub mod train;

pub use error::{Error, Result};
