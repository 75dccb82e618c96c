//! The forward pass of a decoder, described on a tape; the tuning method is asked at each hook.

use super::{Features, FeedForward, Group, Hooks, Model, Norm, NormPlace, Site};
use crate::Result;
use crate::gpu::{Buffer, Context};
use crate::ops::{CacheLayer, Masks, Targets, Weight};
use crate::tape::{Recompute, Tape, Var};

/// The inputs of one plan, on the device, for up to T rows.
#[derive(Clone)]
pub struct Inputs {
    /// T.
    pub rows: usize,
    /// `[T]` token ids; V + j is virtual token j.
    pub ids: Buffer,
    /// `[T]` positions.
    pub positions: Buffer,
    /// Who sees whom.
    pub masks: Masks,
    /// The same in the last block, where only rows with a target are asked for anything.
    pub target_masks: Masks,
    /// Seed and micro-step, for dropout.
    pub counter: Buffer,
    /// Whether rows may hold virtual tokens.
    pub virtual_tokens: bool,
}

impl Inputs {
    /// Buffers for `rows` rows.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, rows: usize) -> Result<Self> {
        let buffer = |what, words: usize| context.buffer(what, words as u64 * 4);
        let masks = || -> Result<Masks> {
            Ok(Masks { keys_of_row: buffer("masks", 2 * rows)?, rows_of_key: buffer("masks", 2 * rows)? })
        };
        Ok(Self {
            rows,
            ids: buffer("token ids", rows)?,
            positions: buffer("positions", rows)?,
            masks: masks()?,
            target_masks: masks()?,
            counter: buffer("counter", 2)?,
            virtual_tokens: true,
        })
    }
}

/// The key-value cache, as a pass of generation uses it.
#[derive(Clone, Copy)]
pub struct Cache<'a> {
    /// One for each block.
    pub layers: &'a [CacheLayer],
    /// `[T]` u32: the row of the cache in which the keys and values of each row are kept.
    pub places: &'a Buffer,
}

/// Describes forward passes of one model under one tuning method.
#[derive(Clone, Copy)]
pub struct Decoder<'a> {
    /// The frozen model.
    pub model: &'a Model,
    /// The tuning method; `None` is the base model, to the bit.
    pub peft: Option<&'a dyn Hooks>,
    /// Whether dropout is on.
    pub training: bool,
    /// What the backward pass computes again.
    pub recompute: Recompute,
}

impl<'a> Decoder<'a> {
    /// A group of linear layers of one block, on `x` and onto `residual`.
    fn linears(&self, t: &mut Tape, inputs: &Inputs, layer: usize, group: Group, x: Var, residual: Option<Var>) -> Var {
        let base = self.model.layers[layer].linears(group);
        match self.peft {
            Some(peft) => {
                let counter = self.training.then_some(&inputs.counter);
                peft.linears(t, Site { layer, group, counter }, x, base, residual)
            }
            None => base.apply(t, x, None, residual),
        }
    }

    fn normed(&self, t: &mut Tape, norm: Norm, x: Var) -> Var {
        let own = self.model.norm(norm);
        let (gain, bias) = match self.peft {
            Some(peft) => (peft.gain(self.model, norm), peft.norm_bias(self.model, norm)),
            None => (&own.gain, own.bias.as_ref()),
        };
        let x = if self.model.config.architecture.layer_norm { t.center(x) } else { x };
        let y = t.rms_norm(x, gain, self.model.config.norm_kind());
        let Some(bias) = bias else { return y };
        // Where each head is normalised by itself, all have the same bias.
        (0..t.cols(y)).step_by(bias.cols).fold(y, |y, first| t.bias(y, first, bias))
    }

    /// What a group of linear layers makes of `x`, added to the residual stream `h`: normalised, where the architecture has
    /// a norm for it.
    fn added(&self, t: &mut Tape, inputs: &Inputs, index: usize, group: Group, x: Var, h: Var) -> Var {
        let place = if group == Group::Output { NormPlace::AfterAttention } else { NormPlace::AfterFeedForward };
        if !self.model.config.architecture.has_norm(place) {
            return self.linears(t, inputs, index, group, x, Some(h));
        }
        let y = self.linears(t, inputs, index, group, x, None);
        let y = self.normed(t, Norm::Block(index, place), y);
        t.add(h, y)
    }

    /// Queries and keys normalised, head by head, where the architecture does that.
    fn normed_heads(&self, t: &mut Tape, index: usize, qkv: Var) -> Var {
        let architecture = self.model.config.architecture;
        if !architecture.has_norm(NormPlace::Query) {
            return qkv;
        }
        let [queries, keys] = [Features::Queries, Features::Keys].map(|features| self.model.config.features(features));
        let q = t.columns(qkv, 0, queries);
        let k = t.columns(qkv, queries, keys);
        let v = t.columns(qkv, queries + keys, keys);
        let q = self.normed(t, Norm::Block(index, NormPlace::Query), q);
        let k = self.normed(t, Norm::Block(index, NormPlace::Key), k);
        let qk = t.beside(q, k);
        t.beside(qk, v)
    }

    /// One block on the residual stream `h`; only the rows with `targets` ask others and go on, where they are given.
    fn block(
        &self,
        t: &mut Tape<'a>,
        inputs: &'a Inputs,
        index: usize,
        h: Var,
        prefix: Option<Var>,
        cache: Option<Cache>,
        targets: Option<&Targets>,
    ) -> Var {
        let model = self.model;
        let heads = model.config.heads();
        let turned = (heads.heads + heads.kv_heads) * heads.head_dim;
        let x = self.normed(t, Norm::Block(index, NormPlace::Attention), h);
        let qkv = self.linears(t, inputs, index, Group::Qkv, x, None);
        let qkv = self.normed_heads(t, index, qkv);
        let qkv = match model.rotations(index) {
            Some(rotations) => t.rope(qkv, turned, &inputs.positions, rotations),
            None => qkv,
        };
        let qkv = match prefix {
            Some(prefix) => t.place_prefix(qkv, &inputs.ids, model.config.vocab, prefix, heads),
            None => qkv,
        };
        let cached = cache.map(|cache| t.write_cache(qkv, heads, cache.places, &cache.layers[index]));
        let masks = if targets.is_some() { &inputs.target_masks } else { &inputs.masks };
        let attended = t.attention(qkv, cached, heads, model.config.scoring(index), masks);
        let [attended, h] = match targets {
            Some(targets) => [attended, h].map(|x| t.gather(x, &targets.rows, targets.capacity)),
            None => [attended, h],
        };
        let h = self.added(t, inputs, index, Group::Output, attended, h);
        let x = self.normed(t, Norm::Block(index, NormPlace::FeedForward), h);
        let decoder = *self;
        t.block(x, self.recompute == Recompute::GateUp, move |t, x| {
            let x = decoder.linears(t, inputs, index, Group::GateUp, x, None);
            let x = match decoder.model.config.architecture.feed_forward {
                FeedForward::Gated(gate) => t.gated(gate, x),
                FeedForward::Plain(function) => t.activation(x, function),
            };
            decoder.added(t, inputs, index, Group::Down, x, h)
        })
    }

    /// The tuning method, where rows may hold virtual tokens.
    fn virtual_tokens(&self, inputs: &Inputs) -> Option<&'a dyn Hooks> {
        self.peft.filter(|_| inputs.virtual_tokens)
    }

    /// The residual stream `[T, C]` before the first block.
    pub fn embed(&self, t: &mut Tape<'a>, inputs: &Inputs) -> Var {
        let table = self.peft.map_or(&self.model.embedding, |peft| peft.embedding(self.model));
        let prompt = self.virtual_tokens(inputs).and_then(|peft| peft.prompt(t));
        let h = t.embed(inputs.rows, &inputs.ids, table, self.model.config.embedding_scale(), prompt);
        let positions = self.peft.map_or(self.model.positions.as_ref(), |peft| peft.positions(self.model));
        match positions {
            Some(table) => {
                // Past the table's end there are only rows that fill a pass up, and those get zeros.
                let places = t.embed(inputs.rows, &inputs.positions, table, 1.0, None);
                t.add(h, places)
            }
            None => h,
        }
    }

    /// The residual stream behind some of the blocks. With a cache, keys and values go through it. With
    /// `targets`, the model's last block gives their rows alone: no other row is asked for anything there.
    pub fn blocks(
        &self,
        t: &mut Tape<'a>,
        inputs: &'a Inputs,
        blocks: std::ops::Range<usize>,
        mut h: Var,
        cache: Option<Cache<'a>>,
        targets: Option<&'a Targets>,
    ) -> Var {
        let decoder = *self;
        let prefixes = self.virtual_tokens(inputs).map_or_else(Vec::new, |peft| peft.prefixes(t));
        for index in blocks {
            let prefix = prefixes.get(index).copied();
            let targets = targets.filter(|_| index + 1 == decoder.model.layers.len());
            h = t.block(h, self.recompute == Recompute::Block, move |t, h| {
                decoder.block(t, inputs, index, h, prefix, cache, targets)
            });
        }
        h
    }

    /// The language-model head `[V, C]`.
    pub fn head(&self) -> &'a Weight {
        self.peft.map_or(self.model.head(), |peft| peft.head(self.model))
    }

    /// The last norm.
    pub fn norm(&self, t: &mut Tape<'a>, h: Var) -> Var {
        self.normed(t, Norm::Last, h)
    }

    /// The hidden states after the last norm, `[T, C]`, all the way from the inputs; with a cache as for
    /// [`Decoder::blocks`].
    pub fn forward(&self, t: &mut Tape<'a>, inputs: &'a Inputs, cache: Option<Cache<'a>>) -> Var {
        let h = self.embed(t, inputs);
        let h = self.blocks(t, inputs, 0..self.model.layers.len(), h, cache, None);
        self.norm(t, h)
    }
}
