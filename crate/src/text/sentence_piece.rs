//! SentencePiece's BPE (Kudo and Richardson 2018, arXiv:1808.06226), as the files of Llama 2, TinyLlama, Mistral and Gemma have it: pairs
//! join in the order of the scores of what they make, a space is written as U+2581, and what no token holds falls back to
//! bytes.

use std::collections::HashMap;

use tokenizers::NormalizerWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence};

/// What stands for a space.
const SPACE: char = '\u{2581}';

/// The longest token, in bytes, that pairs are looked for in: the longest of Gemma's 262,144 have 93.
const LONGEST: usize = 256;

/// The model of these tokens, of the scores that a GGUF file has for them.
///
/// # Errors
/// As the library's.
pub(super) fn model(tokens: &[String], scores: &[f32], unknown: Option<&str>) -> tokenizers::Result<BPE> {
    let vocab: Vocab = tokens.iter().cloned().zip(0..).collect();
    let mut builder = BPE::builder().byte_fallback(true).fuse_unk(true).vocab_and_merges(vocab, merges(tokens, scores));
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown.into());
    }
    builder.build()
}

/// Every pair of tokens that makes a token, the best score first; of pairs that make the same, that with the longer first
/// part, as transformers orders them.
fn merges(tokens: &[String], scores: &[f32]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut merges = Vec::new();
    for (token, &score) in tokens.iter().zip(scores).filter(|(token, _)| token.len() <= LONGEST) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((score, left.to_owned(), right.to_owned()));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.len().cmp(&a.1.len())));
    merges.into_iter().map(|(_, left, right)| (left, right)).collect()
}

/// Writes spaces as the tokens have them, and one before a text where the file says so.
///
/// # Errors
/// As the library's.
pub(super) fn normalizer(space_before: bool) -> tokenizers::Result<NormalizerWrapper> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if space_before {
        steps.push(Prepend::new(SPACE.into()).into());
    }
    steps.push(Replace::new(" ", SPACE.to_string())?.into());
    Ok(Sequence::new(steps).into())
}

/// The bytes that a token stands for: itself with spaces, or the one byte that a token of bytes names, as in `<0x0A>`.
pub(super) fn bytes(token: &str, is_byte: bool) -> Vec<u8> {
    let named = token.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.strip_suffix('>')?, 16).ok());
    match named.filter(|_| is_byte) {
        Some(byte) => vec![byte],
        None => token.replace(SPACE, " ").into_bytes(),
    }
}
