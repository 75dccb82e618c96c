//! A decoder-only language model: its shape, its weights on the device, its forward pass.

mod config;
mod decoder;
mod hooks;
mod in_4bit;
mod module;
mod weights;

pub use config::ModelConfig;
pub(crate) use config::PREFILL;
pub use decoder::{Cache, Decoder, Inputs};
pub use hooks::{Hooks, Site};
pub use in_4bit::bytes_in_4bit;
pub use module::{Group, Module, Norm};
pub use weights::{Layer, Model};
