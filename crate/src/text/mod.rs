//! Text to token ids and back, and conversations to text.

mod bounds;
mod byte_level;
mod message;
mod reply;
mod sentence_piece;
mod tags;
pub mod template;
pub mod tokenizer;
pub mod vocabulary;

pub use message::Message;
