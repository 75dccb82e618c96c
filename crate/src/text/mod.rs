//! Text to token ids and back, and conversations to text.

mod byte_level;
pub mod template;
pub mod tokenizer;
