//! The tokenizer that a GGUF file describes: byte-level BPE or SentencePiece's, by the `tokenizers` library.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, Model, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    SplitDelimiterBehavior,
};

use super::{byte_level, sentence_piece};
use crate::format::gguf::Gguf;
use crate::{Error, Result};

/// Token types of GGUF that are matched as a whole before the text is split.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// What SentencePiece falls back to.
const BYTE: i32 = 6;
/// What it falls back to where there are no bytes.
const UNKNOWN: i32 = 2;

/// How a tokenizer cuts texts, by `tokenizer.ggml.model`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// "gpt2": BPE over bytes.
    ByteLevel,
    /// "llama": SentencePiece's BPE.
    SentencePiece,
}

/// Special tokens that end a turn or a text, under the names that models give them.
const END_TOKENS: [&str; 10] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "</s>",
    "<|return|>",
];

/// The splitters of byte-level BPE that we know, by their names in GGUF files.
pub const PRE_TOKENIZERS: [&str; 10] =
    ["smollm", "gpt2", "gpt-2", "llama-bpe", "qwen2", "default", "starcoder", "refact", "command-r", "falcon"];

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const FALCON: &str = r"[\p{P}\$\+<=>\^~\|`]+";
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";

/// Turns text into token ids and back.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    kind: Kind,
    vocab_size: usize,
    add_bos: bool,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    end_ids: Vec<u32>,
    control: Vec<String>,
    /// Tokens that stand for one byte, as SentencePiece has them.
    byte_ids: HashSet<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer from the metadata under `tokenizer.ggml`.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let kind = match gguf.require::<&str>("tokenizer.ggml.model")? {
            "gpt2" => Kind::ByteLevel,
            "llama" => Kind::SentencePiece,
            other => {
                return Err(unsupported(
                    gguf,
                    "tokenizer",
                    other,
                    "gpt2 (byte-level BPE), llama (SentencePiece's BPE)",
                ));
            }
        };
        let pre = gguf.get::<&str>("tokenizer.ggml.pre")?.unwrap_or("default");
        let tokens = gguf.require::<&[String]>("tokenizer.ggml.tokens")?;
        let types = gguf.get::<&[i32]>("tokenizer.ggml.token_type")?.unwrap_or_default();
        if tokens.is_empty() || !(types.is_empty() || types.len() == tokens.len()) {
            let what = format!("there are {} tokens and {} token types", tokens.len(), types.len());
            return Err(gguf.invalid(what));
        }
        let damaged = |e: tokenizers::Error| gguf.invalid(format!("the tokenizer cannot be built: {e}"));

        let mut inner = match kind {
            Kind::ByteLevel => byte_level_bpe(gguf, tokens, pre)?,
            Kind::SentencePiece => sentence_pieces(gguf, tokens, types)?,
        };
        let added = tokens.iter().zip(types).filter(|(_, kind)| matches!(**kind, CONTROL | USER_DEFINED));
        let added = added.map(|(token, kind)| AddedToken::from(token.as_str(), *kind == CONTROL).normalized(false));
        inner.add_tokens(added).map_err(damaged)?;

        let id = |name: &str| -> Result<Option<u32>> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match gguf.get::<u32>(&key)? {
                Some(id) if id as usize >= tokens.len() => {
                    Err(gguf.invalid(format!("{key} is {id}, and there are {} tokens", tokens.len())))
                }
                id => Ok(id),
            }
        };
        // Where a file names none, llama.cpp takes those that SentencePiece has at these places.
        let or = |id: Option<u32>, place: u32| match kind {
            Kind::SentencePiece if (place as usize) < tokens.len() => id.or(Some(place)),
            _ => id,
        };
        let eos = or(id("eos")?, 2);
        let mut end_ids: Vec<u32> = [eos, id("eot")?, id("eom")?].into_iter().flatten().collect();
        for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
            if *kind == CONTROL && END_TOKENS.contains(&token.as_str()) {
                end_ids.push(id as u32);
            }
        }
        let control = tokens.iter().zip(types).filter(|(token, kind)| **kind == CONTROL && !token.is_empty());
        let control = control.map(|(token, _)| token.clone()).collect();
        end_ids.sort_unstable();
        end_ids.dedup();
        Ok(Tokenizer {
            inner,
            vocab_size: tokens.len(),
            kind,
            add_bos: gguf.get("tokenizer.ggml.add_bos_token")?.unwrap_or(kind == Kind::SentencePiece),
            bos: or(id("bos")?, 1),
            eos,
            // Which token pads makes no difference, and files have -1 for none.
            pad: gguf.get::<u32>("tokenizer.ggml.padding_token_id")?.filter(|id| (*id as usize) < tokens.len()),
            end_ids,
            control,
            byte_ids: types.iter().zip(0..).filter(|(kind, _)| **kind == BYTE).map(|(_, id)| id).collect(),
        })
    }

    /// The tokenizer as Hugging Face's `tokenizer.json`.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_json(&self) -> Result<String> {
        let mut whole = self.inner.clone();
        whole.with_decoder(Some(ByteLevel::new(false, true, true)));
        whole.to_string(true).map_err(|error| Error::Format {
            file: "tokenizer.json".into(),
            what: format!("the tokenizer cannot be written: {error}"),
            help: "use the model's GGUF file".into(),
        })
    }

    /// Whether a token is a control token, such as "<|im_end|>".
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// The first control token that is written in a text, such as "<|im_end|>".
    pub fn control_token_in(&self, text: &str) -> Option<&str> {
        let found = self.control.iter().filter_map(|token| Some((text.find(token.as_str())?, token)));
        found.min_by_key(|(at, _)| *at).map(|(_, token)| token.as_str())
    }

    /// Token ids of `text`, with nothing put before or after them. With `parse_special`, added tokens
    /// written in the text ("<|im_end|>") become their one id; without, they are text like any other.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        Ok(self.encoding(text, parse_special)?.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], each id with the bytes of `text` that it covers. Tokens that share a
    /// character all cover the whole of it.
    pub fn encode_spans(&self, text: &str, parse_special: bool) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.encoding(text, parse_special)?;
        let spans = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(spans).collect())
    }

    fn encoding(&self, text: &str, parse_special: bool) -> Result<tokenizers::Encoding> {
        let encoded = if parse_special { self.inner.encode(text, false) } else { self.encode_plain(text) };
        encoded.map_err(|e| Error::Format {
            file: "tokenizer".into(),
            what: format!("a text of {} bytes could not be split into tokens: {e}", text.len()),
            help: "break very long runs of one kind of character in the text".into(),
        })
    }

    /// The tokenizer's steps, without the first one that looks for added tokens.
    fn encode_plain(&self, text: &str) -> tokenizers::Result<tokenizers::Encoding> {
        let mut pieces = PreTokenizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            pieces.normalize(|piece| normalizer.normalize(piece))?;
        }
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        pieces.into_encoding(None, 0, OffsetType::Byte)
    }

    /// The text of `ids`, added tokens included. What is not UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that one id stands for; none for an id past the vocabulary.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let bytes = |token: String| match self.kind {
            Kind::ByteLevel => byte_level::bytes(&token),
            Kind::SentencePiece => sentence_piece::bytes(&token, self.byte_ids.contains(&id)),
        };
        self.inner.id_to_token(id).map(bytes).unwrap_or_default()
    }

    /// The token's own text in the vocabulary, such as "<|im_end|>".
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token by its own text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokens in the vocabulary; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether a plain text starts with the BOS token.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// The begin-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The padding token; often the same as the one that ends a text.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Every token at which generation stops: ends of text and ends of turn, ascending.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// A decoder for ids that come one at a time.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, pending: Vec::new() }
    }
}

/// Decodes ids one at a time; never gives out half a character.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
}

impl DecodeStream<'_> {
    /// Takes the next id and gives the text that is complete by now, which may be none.
    pub fn push(&mut self, id: u32) -> String {
        self.pending.extend(self.tokenizer.bytes(id));
        let mut text = String::new();
        let mut complete = 0;
        for chunk in self.pending.utf8_chunks() {
            let rest = complete + chunk.valid().len();
            text.push_str(chunk.valid());
            complete = rest + chunk.invalid().len();
            // A character cut off at the very end may be completed by the next id.
            let cut_off = std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
            if complete == self.pending.len() && cut_off {
                complete = rest;
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..complete);
        text
    }

    /// What is left at the end: U+FFFD where a character was never completed.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Byte-level BPE with the merges of the file, and its splitter of this name.
fn byte_level_bpe(gguf: &Gguf, tokens: &[String], pre: &str) -> Result<tokenizers::Tokenizer> {
    let damaged = |e: tokenizers::Error| gguf.invalid(format!("the tokenizer cannot be built: {e}"));
    let vocab: Vocab = tokens.iter().cloned().zip(0..).collect();
    let merges = gguf.require::<&[String]>("tokenizer.ggml.merges")?;
    let merges = merges.iter().map(|merge| split_merge(gguf, merge, &vocab)).collect::<Result<Vec<_>>>()?;
    let bpe =
        BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(pre == "llama-bpe").build().map_err(damaged)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let split = pre_tokenizer(pre).map_err(damaged)?;
    let split = split.ok_or_else(|| unsupported(gguf, "pre-tokenizer", pre, &PRE_TOKENIZERS.join(", ")))?;
    inner.with_pre_tokenizer(Some(split));
    if pre == "qwen2" {
        inner.with_normalizer(Some(NFC)).map_err(damaged)?;
    }
    Ok(inner)
}

/// SentencePiece's BPE with the scores of the file.
fn sentence_pieces(gguf: &Gguf, tokens: &[String], types: &[i32]) -> Result<tokenizers::Tokenizer> {
    let damaged = |e: tokenizers::Error| gguf.invalid(format!("the tokenizer cannot be built: {e}"));
    let scores = gguf.require::<&[f32]>("tokenizer.ggml.scores")?;
    if scores.len() != tokens.len() {
        return Err(gguf.invalid(format!("there are {} tokens and {} scores", tokens.len(), scores.len())));
    }
    let unknown = tokens.iter().zip(types).find(|(_, kind)| **kind == UNKNOWN).map(|(token, _)| token.as_str());
    let bpe = sentence_piece::model(tokens, scores, unknown).map_err(damaged)?;
    let space_before = gguf.get("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_normalizer(Some(sentence_piece::normalizer(space_before).map_err(damaged)?)).map_err(damaged)?;
    Ok(inner)
}

fn unsupported(gguf: &Gguf, kind: &str, found: &str, supported: &str) -> Error {
    Error::Format {
        file: gguf.name().into(),
        what: format!("the {kind} \"{found}\" is not supported"),
        help: format!("use a model with one of these: {supported}"),
    }
}

/// "a b" to ("a", "b"); the first may itself start with a space. Both and what they become must be tokens: the library that
/// merges takes that for granted.
fn split_merge(gguf: &Gguf, merge: &str, vocab: &Vocab) -> Result<(String, String)> {
    let wrong = |what: &str| gguf.invalid(format!("the merge \"{merge:.40}\" {what}"));
    let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
    let (at, _) = space.ok_or_else(|| wrong("is not two tokens"))?;
    let (first, second) = (&merge[..at], &merge[at + 1..]);
    if ![first, second, &format!("{first}{second}")].iter().all(|part| vocab.contains_key(*part)) {
        return Err(wrong("is not of tokens, or makes none"));
    }
    Ok((first.into(), second.into()))
}

/// The name of the splitter that a `tokenizer.json` has; `None` where it is none that we know.
pub fn pre_tokenizer_name(described: &serde_json::Value) -> Option<&'static str> {
    let parts = |splitter: &PreTokenizerWrapper| -> Option<Vec<serde_json::Value>> {
        let described = serde_json::to_value(splitter).ok()?;
        let mut parts = match described["pretokenizers"].as_array() {
            Some(parts) => parts.clone(),
            None => vec![described],
        };
        // How places are told does not change the tokens.
        parts.iter_mut().filter_map(|part| part.as_object_mut()).for_each(|part| drop(part.remove("trim_offsets")));
        Some(parts)
    };
    let wanted = parts(&serde_json::from_value(described.clone()).ok()?)?;
    let is_it =
        |name: &&str| pre_tokenizer(name).ok().flatten().and_then(|own| parts(&own)).is_some_and(|own| own == wanted);
    PRE_TOKENIZERS.into_iter().find(is_it)
}

/// The splitter of that name, `None` where we do not know it. The definitions are those of the
/// models' own tokenizer.json files.
fn pre_tokenizer(name: &str) -> tokenizers::Result<Option<PreTokenizerWrapper>> {
    let split = |regex: &str| -> tokenizers::Result<PreTokenizerWrapper> {
        Ok(Split::new(SplitPattern::Regex(regex.into()), SplitDelimiterBehavior::Isolated, false)?.into())
    };
    let bytes = ByteLevel::new(false, true, false).into();
    let gpt2: PreTokenizerWrapper = ByteLevel::new(false, true, true).into();
    let steps = match name {
        "gpt2" | "gpt-2" => vec![gpt2],
        "falcon" => vec![split(FALCON)?, split(GPT2)?, split("[0-9][0-9][0-9]")?, bytes],
        "smollm" | "starcoder" | "refact" | "command-r" => vec![Digits::new(true).into(), gpt2],
        "llama-bpe" => vec![split(LLAMA3)?, bytes],
        "qwen2" => vec![split(QWEN2)?, bytes],
        "default" => vec![split(PUNCTUATION)?, split(GPT2)?, split(r"\p{N}+")?, split("[0-9][0-9][0-9]")?, bytes],
        _ => return Ok(None),
    };
    Ok(Some(Sequence::new(steps).into()))
}
