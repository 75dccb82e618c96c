//! The shape of a model, read from GGUF metadata.

use serde::Serialize;

use super::architectures;
use super::blueprint::{Architecture, Features, Module, Norm, Positions};
use super::order::{HeadRows, Order};
use super::rotary::Rotary;
use crate::format::gguf::Gguf;
use crate::format::split::model_name;
use crate::ops::{HEAD_DIMS, Heads, NormKind, Scoring};
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
    /// Added to the mean square in norms.
    pub norm_eps: f32,
    /// What some blocks do otherwise than others; `None` where all are alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    /// The soft cap of attention's scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_cap: Option<f32>,
    /// The soft cap of logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_cap: Option<f32>,
}

/// Blocks whose attention is local: all, but for every so many that look at everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Local {
    /// Keys that a row sees, itself and those before it; `None` where the file gives no window.
    pub window: Option<usize>,
    /// Each block of so many is global; 0 where none is.
    pub global_every: usize,
    /// How positions turn queries and keys there, where that is otherwise than elsewhere.
    pub rotary: Option<Rotary>,
}

impl Local {
    /// That of a file; `None` where its blocks are all alike.
    fn from_gguf(gguf: &Gguf, architecture: &Architecture) -> Result<Option<Self>> {
        let name = architecture.name;
        let window = gguf.get::<usize>(&format!("{name}.attention.sliding_window"))?.filter(|&rows| rows > 0);
        let base = architecture.local_rope_base;
        let rotary = base.map(|base| Rotary::of_local_blocks(gguf, name, base)).transpose()?;
        if window.is_none() && rotary.is_none() {
            return Ok(None);
        }
        let every = gguf.get(&format!("{name}.attention.sliding_window_pattern"))?;
        Ok(Some(Self { window, global_every: every.unwrap_or(architecture.global_every), rotary }))
    }

    fn has(&self, layer: usize) -> bool {
        self.global_every == 0 || !(layer + 1).is_multiple_of(self.global_every)
    }
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Most channels, and most of whatever else a layer has: far more than any model, and few enough for any product of two.
const MOST: usize = 1 << 20;

/// Most positions that a model may have been trained for: more than any was.
const MOST_CONTEXT: usize = 1 << 30;

/// Positions of a rotary table, at most, and numbers in one: 16 MiB, which is what heads of 128 take for so many.
const MOST_POSITIONS: usize = 1 << 15;
const MOST_ROTATIONS: usize = 1 << 22;

/// Rows of a prefill pass.
pub(crate) const PREFILL: usize = 64;

/// A soft cap of the metadata; 0 is none.
fn soft_cap(gguf: &Gguf, key: &str) -> Result<Option<f32>> {
    match gguf.get::<f32>(key)?.filter(|&cap| cap != 0.0) {
        Some(cap) if !(cap.is_finite() && cap > 0.0) => {
            Err(gguf.invalid(format!("{key} is {cap}, and a number above 0 was expected")))
        }
        cap => Ok(cap),
    }
}

/// Refuses what a file of this architecture may have and the decoder has not, by name.
fn refuse_other_kinds(gguf: &Gguf, architecture: &str, head_dim: usize) -> Result<()> {
    let key = |name: &str| format!("{architecture}.{name}");
    let experts = gguf.get::<usize>(&key("expert_count"))?.unwrap_or(0);
    let kinds = [
        (experts > 0, format!("a mixture of {experts} experts")),
        // Their scores are scaled by hidden size and heads, which no key of the file says.
        (matches!(architecture, "gemma2" | "gemma3") && head_dim == 128, "Gemma's 27B models".into()),
        (gguf.get::<bool>(&key("attention.causal"))? == Some(false), "attention to what comes later".into()),
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
        let rotary = Rotary::from_gguf(gguf, architecture, head_dim)?;
        let norm_eps =
            key(if blocks.layer_norm { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" });
        let config = Self {
            architecture: blocks,
            name: model_name(file_name(gguf.name())).into(),
            layers: gguf.require(&key("block_count"))?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            ffn: gguf.require(&key("feed_forward_length"))?,
            vocab: gguf.tensor("token_embd.weight")?.dims.get(1).map_or(0, |&rows| rows as usize),
            context_length: context_length
                .min(rotary.context)
                .min(MOST_POSITIONS)
                .min(MOST_ROTATIONS / head_dim.max(1)),
            rotary,
            norm_eps: gguf.require(&norm_eps)?,
            local: Local::from_gguf(gguf, blocks)?,
            score_cap: soft_cap(gguf, &key("attn_logit_softcapping"))?,
            logit_cap: soft_cap(gguf, &key("final_logit_softcapping"))?,
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
            return wrong(format!("{norm_eps} is {}, and a number from 0 on was expected", config.norm_eps));
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

    /// How its norms are taken.
    pub fn norm_kind(&self) -> NormKind {
        NormKind { eps: self.norm_eps, offset: self.architecture.gain_offset }
    }

    /// What embeddings are multiplied by.
    pub fn embedding_scale(&self) -> f32 {
        if self.architecture.scaled_embedding { (self.hidden as f32).sqrt() } else { 1.0 }
    }

    /// What a block does otherwise than global ones.
    fn local(&self, layer: usize) -> Option<&Local> {
        self.local.as_ref().filter(|local| local.has(layer))
    }

    /// What a block makes of the products of queries and keys.
    pub fn scoring(&self, layer: usize) -> Scoring {
        Scoring { window: self.local(layer).and_then(|local| local.window), soft_cap: self.score_cap }
    }

    /// Whether a block turns queries and keys by the rotations of local ones.
    pub fn turns_locally(&self, layer: usize) -> bool {
        self.local(layer).is_some_and(|local| local.rotary.is_some())
    }

    /// Whether a block turns queries and keys at all.
    pub fn turns(&self, layer: usize) -> bool {
        let every = self.architecture.unturned_every;
        self.has_rotations() && (every == 0 || !(layer + 1).is_multiple_of(every))
    }

    /// Whether positions turn anything.
    pub fn has_rotations(&self) -> bool {
        self.architecture.positions.table().is_none()
    }

    /// What a head has.
    pub fn head_rows(&self) -> HeadRows {
        let turned = if self.has_rotations() { self.rotary.dim.unwrap_or(self.head_dim) } else { 0 };
        HeadRows { dim: self.head_dim, turned }
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
        of_heads.then(|| Order::of_rows(std::iter::once((self.head_dim, true)), self.head_rows()))
    }

    /// How the gain of a norm lies on the device, where that is not as in its GGUF file.
    pub fn norm_file_order(&self, norm: Norm) -> Option<Order> {
        self.norm_order(norm).filter(|_| self.architecture.positions == Positions::HalfSplit)
    }

    /// How the rows of a linear layer lie on the device, where that is not as in its GGUF file.
    pub fn file_order(&self, module: Module) -> Option<Order> {
        self.order(module).filter(|_| self.architecture.positions == Positions::HalfSplit)
    }

    /// How the matrix of a linear layer lies on the device, where that is not as in Hugging Face's files.
    pub fn matrix_order(&self, module: Module) -> Option<Order> {
        if self.architecture.transposed { Some(Order::Transposed(self.shape(module).0)) } else { self.order(module) }
    }

    /// The shape of a linear layer's matrix in Hugging Face's files.
    pub fn matrix_shape(&self, module: Module) -> [usize; 2] {
        let (rows, cols) = self.shape(module);
        if self.architecture.transposed { [cols, rows] } else { [rows, cols] }
    }

    /// How the rows of a linear layer lie on the device, where that is not as in Hugging Face's files.
    pub fn order(&self, module: Module) -> Option<Order> {
        let parts = module.outputs.iter().map(|&outputs| (self.features(outputs), outputs.are_turned()));
        let turned = self.has_rotations() && module.outputs.iter().any(|outputs| outputs.are_turned());
        turned.then(|| Order::of_rows(parts, self.head_rows()))
    }
}
