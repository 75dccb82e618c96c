//! Model files: reading them in pieces, and turning their blocks into the device's layouts.

mod blocks;
pub mod encoding;
pub mod ggml;
pub mod gguf;
mod gguf_value;
pub mod gguf_write;
pub mod nf4;
pub mod quant;
pub mod safetensors;
pub mod source;
pub mod split;
