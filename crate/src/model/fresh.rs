//! Models from nothing: a shape, a vocabulary, and weights that are drawn at random.

use super::architectures::llama::LLAMA;
use super::{ModelConfig, Norm, Rotary, normal};
use crate::format::gguf::Value;
use crate::format::gguf_write::GgufWriter;
use crate::{Error, Result};

/// The shape of a llama whose head is its embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// About how many parameters it has, with 4,096 tokens.
    pub name: &'static str,
    /// Transformer blocks.
    pub layers: usize,
    /// C.
    pub hidden: usize,
    /// H, and as many key-value heads.
    pub heads: usize,
    /// F.
    pub ffn: usize,
    /// How far a step goes unless told otherwise: larger models want shorter steps. That of `5m` was tried; the others
    /// are what llama2.c, nanoGPT and GPT-2's followers take for their sizes.
    pub learning_rate: f64,
}

/// The shapes that have a name, the smallest first.
#[rustfmt::skip]
pub const SHAPES: [Shape; 4] = [
    Shape { name: "1m", layers: 3, hidden: 128, heads: 4, ffn: 352, learning_rate: 2e-3 },
    Shape { name: "5m", layers: 5, hidden: 256, heads: 8, ffn: 688, learning_rate: 2e-3 },
    Shape { name: "15m", layers: 8, hidden: 384, heads: 6, ffn: 1024, learning_rate: 1e-3 },
    Shape { name: "50m", layers: 9, hidden: 640, heads: 10, ffn: 1792, learning_rate: 6e-4 },
];

/// Standard deviation of the weights at the start.
const DEVIATION: f64 = 0.02;
/// Base of the rotary frequencies.
const ROPE_BASE: f32 = 10_000.0;
/// Added to the mean square in the norms.
const NORM_EPS: f32 = 1e-5;

impl Shape {
    /// That of this name.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] with the nearest name.
    pub fn named(name: &str) -> Result<Self> {
        let known = SHAPES.into_iter().find(|shape| shape.name == name);
        known.ok_or_else(|| Error::unknown_key("shape", name, SHAPES.map(|shape| shape.name)))
    }

    /// The same as a model's config, for `context` positions.
    fn config(&self, vocab: usize, context: usize) -> ModelConfig {
        ModelConfig {
            architecture: &LLAMA,
            name: self.name.into(),
            layers: self.layers,
            hidden: self.hidden,
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.hidden / self.heads,
            ffn: self.ffn,
            vocab,
            context_length: context,
            rotary: Rotary::plain(ROPE_BASE.into()),
            norm_eps: NORM_EPS,
            local: None,
            score_cap: None,
            logit_cap: None,
        }
    }

    /// A fresh model of this shape as a GGUF file: normal weights of deviation 0.02, those of what is added to the residual
    /// stream smaller by `sqrt(2 layers)` (Radford et al. 2019), and gains of one. `tokenizer` is the metadata of a tokenizer of
    /// `vocab` tokens. The same seed gives the same file.
    pub fn gguf(&self, tokenizer: Vec<(String, Value)>, vocab: usize, context: usize, seed: u32) -> GgufWriter {
        let config = self.config(vocab, context);
        let mut file = GgufWriter::new(config.architecture.name);
        let mut number = |key: &str, value: usize| file.set(&format!("llama.{key}"), Value::U32(value as u32));
        number("block_count", config.layers);
        number("context_length", config.context_length);
        number("embedding_length", config.hidden);
        number("feed_forward_length", config.ffn);
        number("attention.head_count", config.heads);
        number("attention.head_count_kv", config.kv_heads);
        number("rope.dimension_count", config.head_dim);
        file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPS));
        file.set("llama.rope.freq_base", Value::F32(ROPE_BASE));
        tokenizer.into_iter().for_each(|(key, value)| file.set(&key, value));
        let drawn = |name: &str, count: usize, deviation: f64| -> Vec<f32> {
            normal(seed, name).map(|x| (x * deviation) as f32).take(count).collect()
        };
        let (embedding, c) = ("token_embd.weight", config.hidden as u64);
        let values = drawn(embedding, config.vocab * config.hidden, DEVIATION);
        file.tensor_f32(embedding, &[c, config.vocab as u64], &values);
        let onto_residual = DEVIATION / (2.0 * config.layers as f64).sqrt();
        for layer in 0..config.layers {
            for module in LLAMA.modules() {
                let (rows, cols) = config.shape(module);
                let name = format!("blk.{layer}.{}.weight", module.gguf_name);
                let deviation = if module.is_added() { onto_residual } else { DEVIATION };
                file.tensor_f32(&name, &[cols as u64, rows as u64], &drawn(&name, rows * cols, deviation));
            }
            for own in LLAMA.norms {
                let ones = vec![1.0; config.norm_width(Norm::Block(layer, own.place))];
                file.tensor_f32(&format!("blk.{layer}.{}.weight", own.gguf_name), &[ones.len() as u64], &ones);
            }
        }
        file.tensor_f32("output_norm.weight", &[c], &vec![1.0; config.hidden]);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_about_as_many_parameters_as_they_are_called() {
        for shape in SHAPES {
            let config = shape.config(4096, 256);
            let block: usize = LLAMA.modules().map(|module| config.shape(module)).map(|(rows, cols)| rows * cols).sum();
            let norms = (2 * shape.layers + 1) * shape.hidden;
            let count = (shape.layers * block + 4096 * shape.hidden + norms) as f64 / 1e6;
            let called: f64 = shape.name.trim_end_matches('m').parse().unwrap();
            assert!((0.9..1.2).contains(&(count / called)), "{}: {count:.2} million", shape.name);
            assert!(crate::ops::HEAD_DIMS.contains(&config.head_dim), "{}", shape.name);
        }
        assert!(Shape::named("15").unwrap_err().help().contains("15m"));
    }
}
