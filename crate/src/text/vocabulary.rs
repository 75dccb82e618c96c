//! A vocabulary that is learnt from texts: byte-level BPE, by the `tokenizers` library.

use serde_json::Value as Json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::format::gguf::{Array, Value};
use crate::{Error, Result};

/// What ends a document; the first token of every vocabulary.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The tokens that stand for no text: the end of a document, and ChatML's, for later training.
const SPECIAL: [&str; 3] = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"];

/// Fewest tokens: the bytes, and those that stand for no text.
pub const FEWEST_TOKENS: usize = 256 + SPECIAL.len();

/// Tokens and merges of a byte-level BPE.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// The tokens, in the order of their ids.
    pub tokens: Vec<String>,
    /// Pairs of tokens that become one, the first first, with a space between the two.
    pub merges: Vec<String>,
}

impl Vocabulary {
    /// Learns `size` tokens from texts; fewer, where the texts do not hold as many.
    ///
    /// # Errors
    /// [`Error::Config`] for a size that is less than [`FEWEST_TOKENS`].
    pub fn learn<'a>(texts: impl Iterator<Item = &'a str> + Send, size: usize) -> Result<Self> {
        let wrong = |what: String| Error::Config {
            field: "vocab_size".into(),
            what,
            help: format!("give {FEWEST_TOKENS} or more: the bytes, and the tokens that stand for no text"),
        };
        if size < FEWEST_TOKENS {
            return Err(wrong(format!("{size} tokens are too few")));
        }
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size)
            .special_tokens(SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trainer = TrainerWrapper::from(trainer);
        let mut tokenizer = Tokenizer::new(BPE::default());
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        let failed = |error: tokenizers::Error| wrong(format!("no vocabulary can be learnt: {error}"));
        tokenizer.train(&mut trainer, texts).map_err(failed)?;
        let model = serde_json::to_value(tokenizer.get_model()).map_err(|error| failed(error.into()))?;
        let merges = model["merges"].as_array().into_iter().flatten().map(merge).collect();
        let mut tokens: Vec<(u32, String)> =
            tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
        tokens.sort_unstable();
        Ok(Self { tokens: tokens.into_iter().map(|(_, token)| token).collect(), merges })
    }

    /// The metadata that describes it in a GGUF file.
    pub fn metadata(&self) -> Vec<(String, Value)> {
        let kind = |token: &String| if SPECIAL.contains(&token.as_str()) { CONTROL } else { NORMAL };
        let id = |token: &str| {
            let found = self.tokens.iter().position(|own| own == token);
            Value::U32(found.unwrap_or_default() as u32)
        };
        let values = [
            ("model", Value::String("gpt2".into())),
            ("pre", Value::String("gpt-2".into())),
            ("tokens", Value::Array(Array::String(self.tokens.clone()))),
            ("token_type", Value::Array(Array::I32(self.tokens.iter().map(kind).collect()))),
            ("merges", Value::Array(Array::String(self.merges.clone()))),
            ("bos_token_id", id(END_OF_TEXT)),
            ("eos_token_id", id(END_OF_TEXT)),
            ("padding_token_id", id(END_OF_TEXT)),
            ("add_bos_token", Value::Bool(false)),
        ];
        values.into_iter().map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).collect()
    }
}

/// Kinds of tokens in GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// A merge as GGUF has it, from either of the two forms in which the library writes it.
fn merge(merge: &Json) -> String {
    match merge.as_array() {
        Some(pair) => pair.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
        None => merge.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::gguf::Gguf;
    use crate::format::gguf_write::GgufWriter;
    use crate::format::source::MemorySource;
    use crate::text::tokenizer::Tokenizer;

    const TEXT: &str = "the cat sat on the mat, and the cat saw the bat. The end?\n\nÜber \u{1f600} Größe";

    #[test]
    fn what_is_learnt_is_a_tokenizer_and_the_same_every_time() {
        let vocabulary = Vocabulary::learn([TEXT, TEXT].into_iter(), 280).unwrap();
        assert_eq!(vocabulary, Vocabulary::learn([TEXT, TEXT].into_iter(), 280).unwrap());
        assert_eq!(vocabulary.tokens.len(), 280);
        assert_eq!(vocabulary.merges.len(), 280 - FEWEST_TOKENS);
        assert_eq!(vocabulary.tokens[..3], SPECIAL);
        let mut file = GgufWriter::new("llama");
        vocabulary.metadata().into_iter().for_each(|(key, value)| file.set(&key, value));
        let gguf = Gguf::open(Box::new(MemorySource::new("words.gguf", file.finish()))).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let ids = tokenizer.encode(TEXT, true).unwrap();
        assert!(ids.len() < TEXT.len() * 3 / 4, "{} tokens of {} bytes", ids.len(), TEXT.len());
        assert_eq!(tokenizer.decode(&ids), TEXT);
        assert_eq!((tokenizer.eos(), tokenizer.id(END_OF_TEXT)), (Some(0), Some(0)));
        assert!(tokenizer.is_special(0) && tokenizer.end_ids() == [0, 2]);
    }

    #[test]
    fn too_few_tokens_are_refused() {
        let error = Vocabulary::learn([TEXT].into_iter(), 200).unwrap_err();
        assert!(error.to_string().contains("200 tokens are too few"), "{error}");
        // There are no more than the text holds.
        assert!(Vocabulary::learn(["ab"].into_iter(), 5000).unwrap().tokens.len() < 270);
    }
}
