//! The shape of a model, read from GGUF metadata.

use serde::Serialize;

use super::architectures;
use super::blueprint::{Architecture, Features, Module, Norm};
use super::order::Order;
use super::rotary::Rotary;
use crate::format::gguf::Gguf;
use crate::ops::{HEAD_DIMS, Heads};
use crate::{Error, Result};

/// Everything that shapes the decoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// What its blocks are made of.
    pub architecture: &'static Architecture,
    /// The file's name without its extension: what people know the model by. `general.name` is often the name of a
    /// training run.
    pub name: String,
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
    /// Positions the model was trained for, or as many of them as we make a rotary table for.
    pub context_length: usize,
    /// How positions turn queries and keys. Checkpoints know a model by how this is written, too.
    #[serde(flatten)]
    pub rotary: Rotary,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Most channels, and most of whatever else a layer has: far more than any model, and few enough for any product of two.
const MOST: usize = 1 << 20;

/// Most positions that a model may have been trained for: more than any was.
const MOST_CONTEXT: usize = 1 << 30;

/// Positions of the rotary table, at most: 128 MiB of it are the most that a binding holds, and an eighth of that is
/// what heads of 128 take.
const MOST_POSITIONS: usize = 1 << 15;

/// Rows of a prefill pass.
pub(crate) const PREFILL: usize = 64;

/// Refuses what a file of this architecture may have and the decoder has not, by name.
fn refuse_other_kinds(gguf: &Gguf, architecture: &str, head_dim: usize) -> Result<()> {
    let key = |name: &str| format!("{architecture}.{name}");
    let experts = gguf.get::<usize>(&key("expert_count"))?.unwrap_or(0);
    let kinds = [
        (experts > 0, format!("a mixture of {experts} experts")),
        (
            gguf.get::<usize>(&key("attention.sliding_window"))?.is_some_and(|rows| rows > 0),
            "attention in a window".into(),
        ),
        (gguf.get::<bool>(&key("attention.causal"))? == Some(false), "attention to what comes later".into()),
        (
            gguf.get::<usize>(&key("rope.dimension_count"))?.is_some_and(|dim| dim != head_dim),
            "rotary embedding over a part of the head".into(),
        ),
        (
            gguf.get::<usize>(&key("attention.value_length"))?.is_some_and(|dim| dim != head_dim),
            "values of another dimension than keys".into(),
        ),
    ];
    kinds.into_iter().find(|(has, _)| *has).map_or(Ok(()), |(_, what)| Err(gguf.unsupported(&what)))
}

impl ModelConfig {
    /// Reads and checks the metadata.
    ///
    /// # Errors
    /// [`Error::Architecture`] for another architecture; [`Error::Format`] for a missing or impossible field.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let architecture: &str = gguf.require("general.architecture")?;
        let Some(blocks) = architectures::named(architecture) else {
            let supported: Vec<&str> = architectures::ALL.iter().map(|supported| supported.name).collect();
            return Err(Error::Architecture {
                file: gguf.name().into(),
                found: architecture.into(),
                supported: supported.join(", "),
            });
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let hidden: usize = gguf.require(&key("embedding_length"))?;
        let heads: usize = gguf.require(&key("attention.head_count"))?;
        if heads == 0 {
            return Err(gguf.invalid(format!("{} is 0", key("attention.head_count"))));
        }
        let kv_heads: usize = gguf.get(&key("attention.head_count_kv"))?.unwrap_or(heads);
        let head_dim: usize = gguf.get(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        refuse_other_kinds(gguf, architecture, head_dim)?;
        let context_length: usize = gguf.require(&key("context_length"))?;
        let config = Self {
            architecture: blocks,
            name: file_name(gguf.name()).trim_end_matches(".gguf").into(),
            layers: gguf.require(&key("block_count"))?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            ffn: gguf.require(&key("feed_forward_length"))?,
            vocab: gguf.tensor("token_embd.weight")?.dims.get(1).map_or(0, |&rows| rows as usize),
            context_length: context_length.min(MOST_POSITIONS),
            rotary: Rotary::from_gguf(gguf, architecture, head_dim)?,
            norm_eps: gguf.require(&key("attention.layer_norm_rms_epsilon"))?,
        };
        let wrong = |what: String| Err(gguf.invalid(what));
        for (name, count) in [
            ("embedding_length", config.hidden),
            ("attention.head_count", config.heads),
            ("attention.head_count_kv", config.kv_heads),
            ("feed_forward_length", config.ffn),
            ("context_length", context_length),
        ] {
            let most = if name == "context_length" { MOST_CONTEXT } else { MOST };
            if count > most {
                return wrong(format!("{} is {count}, and at most {most} was expected", key(name)));
            }
        }
        let last = format!("blk.{}.attn_norm.weight", config.layers.wrapping_sub(1));
        if config.layers > 0 && gguf.find_tensor(&last).is_none() {
            return wrong(format!("{} is {}, and there is no tensor {last}", key("block_count"), config.layers));
        }
        if config.hidden == 0 || config.ffn == 0 || config.layers == 0 || config.vocab == 0 {
            return wrong("a dimension of the model is 0".into());
        }
        if !(config.norm_eps.is_finite() && config.norm_eps >= 0.0) {
            let name = key("attention.layer_norm_rms_epsilon");
            return wrong(format!("{name} is {}, and a number from 0 on was expected", config.norm_eps));
        }
        // The head takes its rows in pieces of a buffer, which start at multiples of 256 bytes.
        if !config.hidden.is_multiple_of(4) {
            return Err(gguf.unsupported(&format!("a hidden size of {}, which is no multiple of 4", config.hidden)));
        }
        if config.kv_heads == 0 || !config.heads.is_multiple_of(config.kv_heads) {
            return wrong(format!("{} key-value heads do not divide {} heads", config.kv_heads, config.heads));
        }
        if !HEAD_DIMS.contains(&config.head_dim) {
            let what = format!("heads of dimension {}, which is none of {HEAD_DIMS:?}", config.head_dim);
            return Err(gguf.unsupported(&what));
        }
        Ok(config)
    }

    /// H, K and D.
    pub fn heads(&self) -> Heads {
        Heads { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// How many features of a kind there are.
    pub fn features(&self, features: Features) -> usize {
        match features {
            Features::Hidden => self.hidden,
            Features::Queries => self.heads * self.head_dim,
            Features::Keys | Features::Values => self.kv_heads * self.head_dim,
            Features::FeedForward => self.ffn,
        }
    }

    /// Output and input features of a linear layer.
    pub fn shape(&self, module: Module) -> (usize, usize) {
        (module.outputs.iter().map(|&outputs| self.features(outputs)).sum(), self.features(module.inputs))
    }

    /// Numbers of a norm's gain.
    pub fn norm_width(&self, norm: Norm) -> usize {
        match norm {
            Norm::Block(_, place) if place.is_of_heads() => self.head_dim,
            _ => self.hidden,
        }
    }

    /// How the gain of a norm lies on the device, where that is not as in Hugging Face's files.
    pub fn norm_order(&self, norm: Norm) -> Option<Order> {
        let of_heads = matches!(norm, Norm::Block(_, place) if place.is_of_heads());
        of_heads.then(|| Order::of_rows(std::iter::once((self.head_dim, true)), self.head_dim))
    }

    /// How the gain of a norm lies on the device, where that is not as in its GGUF file.
    pub fn norm_file_order(&self, norm: Norm) -> Option<Order> {
        self.norm_order(norm).filter(|_| self.architecture.half_split)
    }

    /// How the rows of a linear layer lie on the device, where that is not as in its GGUF file.
    pub fn file_order(&self, module: Module) -> Option<Order> {
        self.order(module).filter(|_| self.architecture.half_split)
    }

    /// How the rows of a linear layer lie on the device, where that is not as in Hugging Face's files.
    pub fn order(&self, module: Module) -> Option<Order> {
        let parts = module.outputs.iter().map(|&outputs| (self.features(outputs), outputs.are_turned()));
        let turned = module.outputs.iter().any(|outputs| outputs.are_turned());
        turned.then(|| Order::of_rows(parts, self.head_dim))
    }
}
