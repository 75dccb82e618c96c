//! The shapes of some models that people know.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::format::gguf::{Array, Value};
use crate::format::gguf_write::GgufWriter;
use crate::{Error, Result};

/// The shape of a decoder whose head is its embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// What people call it.
    pub name: &'static str,
    /// Transformer blocks.
    pub layers: usize,
    /// C.
    pub hidden: usize,
    /// H.
    pub heads: usize,
    /// K.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
    /// F.
    pub ffn: usize,
    /// V.
    pub vocab: usize,
    /// Positions.
    pub context_length: usize,
}

/// Every shape there is; the last is for tests.
#[rustfmt::skip]
pub const SHAPES: [Shape; 5] = [
    Shape { name: "smollm2-135m", layers: 30, hidden: 576, heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536, vocab: 49152, context_length: 8192 },
    Shape { name: "smollm2-360m", layers: 32, hidden: 960, heads: 15, kv_heads: 5, head_dim: 64, ffn: 2560, vocab: 49152, context_length: 8192 },
    Shape { name: "qwen3-0.6b", layers: 28, hidden: 1024, heads: 16, kv_heads: 8, head_dim: 128, ffn: 3072, vocab: 151936, context_length: 40960 },
    // The real one has 131072 positions; its rotary table would be all that is measured.
    Shape { name: "llama-3.2-1b", layers: 16, hidden: 2048, heads: 32, kv_heads: 8, head_dim: 64, ffn: 8192, vocab: 128256, context_length: 8192 },
    Shape { name: "nano", layers: 2, hidden: 64, heads: 4, kv_heads: 2, head_dim: 16, ffn: 96, vocab: 512, context_length: 256 },
];

/// Standard deviation of the embeddings, as models are initialised.
pub(super) const EMBEDDING_DEVIATION: f32 = 0.02;

impl Shape {
    /// The shape of this name.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] with the nearest name.
    pub fn named(name: &str) -> Result<Self> {
        let known = SHAPES.into_iter().find(|shape| shape.name == name);
        known.ok_or_else(|| Error::unknown_key("synthetic model", name, SHAPES.map(|shape| shape.name)))
    }

    /// A header without tensors: the shape, and a vocabulary of V tokens.
    pub(super) fn metadata(&self) -> GgufWriter {
        let mut file = GgufWriter::new("llama");
        let number = |value: usize| Value::U32(value as u32);
        for (key, value) in [
            ("llama.block_count", number(self.layers)),
            ("llama.context_length", number(self.context_length)),
            ("llama.embedding_length", number(self.hidden)),
            ("llama.feed_forward_length", number(self.ffn)),
            ("llama.attention.head_count", number(self.heads)),
            ("llama.attention.head_count_kv", number(self.kv_heads)),
            ("llama.attention.key_length", number(self.head_dim)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ] {
            file.set(key, value);
        }
        // One end token, GPT-2's alphabet of bytes, and names that stand for the merged tokens of a real vocabulary.
        let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        letters.sort_unstable();
        let mut tokens = vec!["<|endoftext|>".to_owned()];
        tokens.extend(letters.iter().map(char::to_string));
        let real = tokens.len();
        tokens.extend((real..self.vocab).map(|id| format!("<unused{id}>")));
        // GGUF's kinds of tokens: control 3, normal 1, unused 5.
        let kinds = (0..self.vocab)
            .map(|id| {
                if id == 0 {
                    3
                } else if id < real {
                    1
                } else {
                    5
                }
            })
            .collect();
        file.set("tokenizer.ggml.model", Value::String("gpt2".into()));
        file.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
        file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
        file.set("tokenizer.ggml.merges", Value::Array(Array::String(Vec::new())));
        file.set("tokenizer.ggml.eos_token_id", Value::U32(0));
        file
    }

    /// Name, rows, columns and standard deviation of each matrix, the embedding first.
    pub(super) fn matrices(&self) -> Vec<(String, usize, usize, f32)> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut matrices = vec![("token_embd.weight".to_owned(), self.vocab, self.hidden, EMBEDDING_DEVIATION)];
        for layer in 0..self.layers {
            for (name, rows, cols) in [
                ("attn_q", q, self.hidden),
                ("attn_k", kv, self.hidden),
                ("attn_v", kv, self.hidden),
                ("attn_output", self.hidden, q),
                ("ffn_gate", self.ffn, self.hidden),
                ("ffn_up", self.ffn, self.hidden),
                ("ffn_down", self.hidden, self.ffn),
            ] {
                matrices.push((format!("blk.{layer}.{name}.weight"), rows, cols, 1.0 / (cols as f32).sqrt()));
            }
        }
        matrices
    }

    /// The name of each norm.
    pub(super) fn norms(&self) -> Vec<String> {
        let of_layer = |layer| ["attn_norm", "ffn_norm"].map(|name| format!("blk.{layer}.{name}.weight"));
        (0..self.layers).flat_map(of_layer).chain(["output_norm.weight".to_owned()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_or_the_nearest_is_told() {
        assert_eq!(Shape::named("qwen3-0.6b").unwrap().layers, 28);
        assert!(Shape::named("qwen3-0.8b").unwrap_err().help().contains("qwen3-0.6b"));
    }
}
