//! Text to token ids and back, and conversations to text.

mod byte_level;
mod message;
mod reply;
pub mod template;
pub mod tokenizer;

pub use message::Message;
