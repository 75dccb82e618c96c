//! The parts of a block that a tuning method may change, by name.

use std::fmt;

use serde::Serialize;

use super::ModelConfig;

/// The seven linear layers of a block, by their Hugging Face names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// `self_attn.q_proj`
    QProj,
    /// `self_attn.k_proj`
    KProj,
    /// `self_attn.v_proj`
    VProj,
    /// `self_attn.o_proj`
    OProj,
    /// `mlp.gate_proj`
    GateProj,
    /// `mlp.up_proj`
    UpProj,
    /// `mlp.down_proj`
    DownProj,
}

impl Module {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The last part of the Hugging Face path.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// The Hugging Face path below the layer: `self_attn.q_proj`.
    pub fn path(self) -> String {
        let parent = match self {
            Self::QProj | Self::KProj | Self::VProj | Self::OProj => "self_attn",
            Self::GateProj | Self::UpProj | Self::DownProj => "mlp",
        };
        format!("{parent}.{}", self.name())
    }

    /// The group that it is computed in.
    pub fn group(self) -> Group {
        match self {
            Self::QProj | Self::KProj | Self::VProj => Group::Qkv,
            Self::OProj => Group::Output,
            Self::GateProj | Self::UpProj => Group::GateUp,
            Self::DownProj => Group::Down,
        }
    }

    /// The part of a GGUF tensor's name between block and `.weight`: `attn_q`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::QProj => "attn_q",
            Self::KProj => "attn_k",
            Self::VProj => "attn_v",
            Self::OProj => "attn_output",
            Self::GateProj => "ffn_gate",
            Self::UpProj => "ffn_up",
            Self::DownProj => "ffn_down",
        }
    }

    /// Output and input features in a model of this shape.
    pub fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::QProj => (q, config.hidden),
            Self::KProj | Self::VProj => (kv, config.hidden),
            Self::OProj => (config.hidden, q),
            Self::GateProj | Self::UpProj => (config.ffn, config.hidden),
            Self::DownProj => (config.hidden, config.ffn),
        }
    }
}

/// The linear layers of a block that read the same input, and whose results stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// q, k and v.
    Qkv,
    /// What follows attention.
    Output,
    /// gate and up.
    GateUp,
    /// down.
    Down,
}

impl Group {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::Output, Self::GateUp, Self::Down];

    /// Its layers, in the order in which their results stand.
    pub fn modules(self) -> &'static [Module] {
        match self {
            Self::Qkv => &[Module::QProj, Module::KProj, Module::VProj],
            Self::Output => &[Module::OProj],
            Self::GateUp => &[Module::GateProj, Module::UpProj],
            Self::Down => &[Module::DownProj],
        }
    }
}

/// A norm of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Norm {
    /// Before attention, in this block.
    Attention(usize),
    /// Before the feed-forward, in this block.
    FeedForward(usize),
    /// Behind the last block.
    Last,
}

impl Norm {
    /// Every norm of a model of so many blocks, in the order of the forward pass.
    pub fn all(layers: usize) -> impl Iterator<Item = Self> {
        (0..layers).flat_map(|layer| [Self::Attention(layer), Self::FeedForward(layer)]).chain([Self::Last])
    }

    /// Its place among all of a model of so many blocks.
    pub fn index(self, layers: usize) -> usize {
        match self {
            Self::Attention(layer) => 2 * layer,
            Self::FeedForward(layer) => 2 * layer + 1,
            Self::Last => 2 * layers,
        }
    }

    /// The Hugging Face path: `model.layers.3.input_layernorm`.
    pub fn path(self) -> String {
        match self {
            Self::Attention(layer) => format!("model.layers.{layer}.input_layernorm"),
            Self::FeedForward(layer) => format!("model.layers.{layer}.post_attention_layernorm"),
            Self::Last => "model.norm".into(),
        }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
