//! What a decoder is made of, as data. The loader, the forward pass, every tuning method and merging read the table of
//! the model's architecture (see [`super::architectures`]), and nothing else says what a block has.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

use crate::ops::{Activation, Gate};

/// One kind of model: what each of its blocks has, in the order of the forward pass.
#[derive(Debug)]
pub struct Architecture {
    /// `general.architecture` of its GGUF files, and the start of its keys there.
    pub name: &'static str,
    /// The linear layers of a block; those of a group stand behind each other.
    pub linears: &'static [Linear],
    /// The norms of a block.
    pub norms: &'static [BlockNorm],
    /// The Hugging Face paths of what is not in a block, and of the blocks.
    pub paths: Paths,
    /// How it knows where a token stands.
    pub positions: Positions,
    /// What stands between the first and the last layer of the feed-forward.
    pub feed_forward: FeedForward,
    /// Whether its norms take the mean away first, and have biases: LayerNorm (Ba et al. 2016, arXiv:1607.06450), and not RMSNorm.
    pub layer_norm: bool,
    /// Whether Hugging Face's files have the matrices of its linear layers the other way round, `[in, out]`.
    pub transposed: bool,
    /// What is added to the gains of norms as Hugging Face's files have them; GGUF files have the sum.
    pub gain_offset: f32,
    /// Whether embeddings are multiplied by `sqrt(C)` before the first block.
    pub scaled_embedding: bool,
    /// Every so many blocks one turns no queries and keys; 0 where all do.
    pub unturned_every: usize,
    /// Where attention is local: every so many blocks one is not, and 0 where all are.
    pub global_every: usize,
    /// The base of the rotations of local blocks, where they have one of their own.
    pub local_rope_base: Option<f64>,
}

/// The Hugging Face paths of what is not in a block, and of the blocks.
#[derive(Debug)]
pub struct Paths {
    /// The token embeddings: `model.embed_tokens`.
    pub embedding: &'static str,
    /// The blocks, without their number: `model.layers`.
    pub blocks: &'static str,
    /// The last norm: `model.norm`.
    pub norm: &'static str,
}

/// The path of the language-model head, in every architecture.
pub const HEAD: &str = "lm_head";

/// How a model knows where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Queries and keys are turned, by pairs that stand beside each other in GGUF files, as they do on the device.
    Interleaved,
    /// The same by pairs that are half a head apart in GGUF files, as they are in Hugging Face's.
    HalfSplit,
    /// Each position has a row of a table, which is added to the token's embedding: its Hugging Face path, `transformer.wpe`.
    Learned(&'static str),
}

impl Positions {
    /// The Hugging Face path of the table of positions, where there is one.
    pub fn table(self) -> Option<&'static str> {
        if let Self::Learned(path) = self { Some(path) } else { None }
    }
}

/// What stands between the first and the last layer of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// The first layer makes a gate and an up, which are multiplied: the gate by this function first.
    Gated(Gate),
    /// A function of single numbers.
    Plain(Activation),
}

/// A linear layer of every block.
#[derive(Debug)]
pub struct Linear {
    /// Its Hugging Face path below the block: `self_attn.q_proj`.
    pub path: &'static str,
    /// The part of its tensors' names in a GGUF file between block and `.weight`: `attn_q`.
    pub gguf_name: &'static str,
    /// Where it stands in the forward pass.
    pub group: Group,
    /// What its rows make, below each other.
    pub outputs: &'static [Features],
    /// What it reads.
    pub inputs: Features,
    /// Whether it has a bias.
    pub bias: bool,
}

impl Linear {
    /// The same with a bias.
    pub(super) const fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

/// A row of a table of linear layers.
pub(super) const fn linear(
    path: &'static str,
    gguf_name: &'static str,
    group: Group,
    outputs: &'static [Features],
    inputs: Features,
) -> Linear {
    Linear { path, gguf_name, group, outputs, inputs, bias: false }
}

/// A norm of every block.
#[derive(Debug)]
pub struct BlockNorm {
    /// Where it stands in the forward pass.
    pub place: NormPlace,
    /// Its Hugging Face path below the block: `input_layernorm`.
    pub path: &'static str,
    /// The part of its tensor's name in a GGUF file between block and `.weight`: `attn_norm`.
    pub gguf_name: &'static str,
}

impl BlockNorm {
    /// The last part of the Hugging Face path: `input_layernorm`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// A row of a table of norms.
pub(super) const fn norm(place: NormPlace, path: &'static str, gguf_name: &'static str) -> BlockNorm {
    BlockNorm { place, path, gguf_name }
}

/// Features by what they are: how many there are is the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// C of the residual stream.
    Hidden,
    /// H D of the queries, whose pairs are turned.
    Queries,
    /// K D of the keys, whose pairs are turned.
    Keys,
    /// K D of the values.
    Values,
    /// F of the feed-forward.
    FeedForward,
}

impl Features {
    /// Whether their pairs are turned by their row's position.
    pub fn are_turned(self) -> bool {
        matches!(self, Self::Queries | Self::Keys)
    }
}

/// The linear layers of a block that read the same input, and whose results stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// q, k and v.
    Qkv,
    /// What follows attention.
    Output,
    /// gate and up, or up alone.
    GateUp,
    /// down.
    Down,
}

impl Group {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::Output, Self::GateUp, Self::Down];
}

/// Where a norm of a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NormPlace {
    /// Before attention.
    Attention,
    /// Of each head's queries, before they are turned.
    Query,
    /// Of each head's keys, before they are turned.
    Key,
    /// Of what attention adds to the residual stream.
    AfterAttention,
    /// Before the feed-forward.
    FeedForward,
    /// Of what the feed-forward adds to the residual stream.
    AfterFeedForward,
}

impl NormPlace {
    /// Whether it normalises each head by itself, and not the residual stream.
    pub fn is_of_heads(self) -> bool {
        matches!(self, Self::Query | Self::Key)
    }
}

/// A linear layer of every block of one architecture, by PEFT's word for it. They compare by their order in the forward
/// pass.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    index: usize,
    architecture: &'static Architecture,
}

impl Module {
    /// Its place among the linear layers of a block.
    pub fn index(self) -> usize {
        self.index
    }

    /// What tells it from the others of its block: the last part of its Hugging Face path, `q_proj`, or all of that.
    pub fn name(self) -> &'static str {
        let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
        let alike = self.architecture.linears.iter().filter(|other| last(other.path) == last(self.path));
        if alike.count() == 1 { last(self.path) } else { self.path }
    }

    /// Its Hugging Face path in a block: `model.layers.3.self_attn.q_proj`.
    pub fn path_in(self, layer: usize) -> String {
        format!("{}.{}", self.architecture.block_path(layer), self.path)
    }

    /// Whether its matrix is the other way round in Hugging Face's files: `[in, out]`.
    pub fn is_transposed(self) -> bool {
        self.architecture.transposed
    }

    /// Whether its result is added to the residual stream.
    pub fn is_added(self) -> bool {
        self.outputs == [Features::Hidden]
    }

    /// Whether some of its rows make these features.
    pub fn makes(self, features: Features) -> bool {
        self.outputs.contains(&features)
    }
}

impl Deref for Module {
    type Target = Linear;

    fn deref(&self) -> &Linear {
        &self.architecture.linears[self.index]
    }
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.architecture == other.architecture
    }
}

impl Eq for Module {}

impl PartialOrd for Module {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Module {
    fn cmp(&self, other: &Self) -> Ordering {
        self.index.cmp(&other.index)
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A norm of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Norm {
    /// Of this block, at this place.
    Block(usize, NormPlace),
    /// Behind the last block.
    Last,
}

impl Architecture {
    /// The linear layers of a block, in the order of the forward pass.
    pub fn modules(&'static self) -> impl Iterator<Item = Module> + Clone {
        (0..self.linears.len()).map(move |index| Module { index, architecture: self })
    }

    /// Those of a group, in the order in which their results stand.
    pub fn group(&'static self, group: Group) -> impl Iterator<Item = Module> + Clone {
        self.modules().filter(move |module| module.group == group)
    }

    /// Every norm of a model of so many blocks, in the order of the forward pass.
    pub fn norms(&'static self, layers: usize) -> impl Iterator<Item = Norm> {
        let of_block = move |layer| self.norms.iter().map(move |norm| Norm::Block(layer, norm.place));
        (0..layers).flat_map(of_block).chain([Norm::Last])
    }

    /// The place of a norm among all of a model of so many blocks.
    pub fn norm_index(&self, norm: Norm, layers: usize) -> usize {
        match norm {
            Norm::Block(layer, place) => layer * self.norms.len() + self.place(place),
            Norm::Last => layers * self.norms.len(),
        }
    }

    /// Whether a block has a norm there.
    pub fn has_norm(&self, place: NormPlace) -> bool {
        self.norms.iter().any(|norm| norm.place == place)
    }

    /// The place of a norm among those of its block.
    ///
    /// # Panics
    /// When a block has none there.
    pub fn place(&self, place: NormPlace) -> usize {
        let found = self.norms.iter().position(|norm| norm.place == place);
        found.unwrap_or_else(|| panic!("{} has no norm {place:?}", self.name))
    }

    /// The Hugging Face path of a norm: `model.layers.3.input_layernorm`.
    pub fn norm_path(&self, norm: Norm) -> String {
        match norm {
            Norm::Block(layer, place) => format!("{}.{}", self.block_path(layer), self.norms[self.place(place)].path),
            Norm::Last => self.paths.norm.into(),
        }
    }

    /// The Hugging Face path of a block: `model.layers.3`.
    pub fn block_path(&self, layer: usize) -> String {
        format!("{}.{layer}", self.paths.blocks)
    }

    /// The ends of the norms' paths, as PEFT has them in its lists.
    pub fn norm_names(&self) -> impl Iterator<Item = &'static str> {
        let last = self.paths.norm.rsplit('.').next().unwrap_or(self.paths.norm);
        self.norms.iter().map(|norm| norm.name()).chain([last])
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}
