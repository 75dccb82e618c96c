//! A decoder-only language model: its shape, its weights on the device, its forward pass.

pub mod architectures;
mod blueprint;
mod config;
mod decoder;
pub mod files;
pub mod folder;
pub mod fresh;
mod hooks;
mod hugging_face;
mod in_4bit;
mod linears;
mod order;
mod random;
mod rotary;
mod weights;

pub use blueprint::{Architecture, Features, FeedForward, Group, HEAD, Module, Norm, NormPlace};
pub(crate) use config::PREFILL;
pub use config::{Local, ModelConfig};
pub use decoder::{Cache, Decoder, Inputs};
pub use hooks::{Hooks, Site};
pub use hugging_face::{config_json, tokenizer_config_json};
pub use in_4bit::bytes_in_4bit;
pub use linears::Linears;
pub use order::{HeadRows, Order};
pub(crate) use random::{normal, random};
pub use rotary::{Rotary, Scaling};
pub use weights::{Layer, Model, NormWeights};
