//! Tunesmith: fine-tune a language model in a browser tab, or headless through wgpu.
//!
//! One example walks through the rooms in one direction: [`mod@format`] reads the model's file, [`model`] puts the weights
//! into GPU buffers, [`text`] and [`data`] turn examples into batches, [`model::Decoder`] describes the forward pass on
//! a [`tape::Tape`] and asks the tuning method's [`model::Hooks`], [`train::Trainer`] replays the plan and hands out events,
//! and [`peft::io`] writes the adapter.
#![deny(missing_docs)]

pub mod bench;
pub mod clock;
pub mod data;
pub mod error;
pub mod format;
pub mod generate;
pub mod gpu;
pub mod model;
pub mod objective;
pub mod ops;
pub mod peft;
pub mod record;
pub mod reward;
pub mod settings;
pub mod tape;
pub mod text;
pub mod train;
#[cfg(target_arch = "wasm32")]
pub mod web;

pub use error::{Error, Result};

/// The README's code, so that it is known to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
