//! The forward pass of a decoder, described on a tape; the tuning method is asked at each hook.

use super::{Model, Module, Weight};
use crate::Result;
use crate::gpu::{Buffer, Context};
use crate::ops::{CacheLayer, Masks};
use crate::peft::{Peft, Site};
use crate::tape::{Tape, Var};

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
    /// Seed and micro-step, for dropout.
    pub counter: Buffer,
}

impl Inputs {
    /// Buffers for `rows` rows.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, rows: usize) -> Result<Self> {
        let buffer = |what, words: usize| context.buffer(what, words as u64 * 4);
        Ok(Self {
            rows,
            ids: buffer("token ids", rows)?,
            positions: buffer("positions", rows)?,
            masks: Masks { keys_of_row: buffer("masks", 2 * rows)?, rows_of_key: buffer("masks", 2 * rows)? },
            counter: buffer("counter", 2)?,
        })
    }
}

/// Describes forward passes of one model under one tuning method.
pub struct Decoder<'a> {
    /// The frozen model.
    pub model: &'a Model,
    /// The tuning method; `None` is the base model, to the bit.
    pub peft: Option<&'a dyn Peft>,
    /// Whether dropout is on.
    pub training: bool,
}

impl Decoder<'_> {
    fn linear(&self, t: &mut Tape, inputs: &Inputs, layer: usize, module: Module, x: Var) -> Var {
        let weight: &Weight = self.model.layers[layer].linear(module);
        match self.peft {
            Some(peft) => {
                let counter = self.training.then_some(&inputs.counter);
                peft.linear(t, Site { layer, module, counter }, x, weight)
            }
            None => t.linear(x, weight),
        }
    }

    /// The hidden states after the last norm, `[T, C]`. With a cache, one layer each, keys and values go through it.
    pub fn forward(&self, t: &mut Tape, inputs: &Inputs, cache: Option<&[CacheLayer]>) -> Var {
        let model = self.model;
        let (config, heads) = (&model.config, model.config.heads());
        let prompt = self.peft.and_then(Peft::prompt);
        let mut h = t.embed(inputs.rows, &inputs.ids, &model.embedding, prompt);
        for (index, layer) in model.layers.iter().enumerate() {
            let x = t.rms_norm(h, &layer.attention_norm, config.norm_eps);
            let q = self.linear(t, inputs, index, Module::QProj, x);
            let k = self.linear(t, inputs, index, Module::KProj, x);
            let v = self.linear(t, inputs, index, Module::VProj, x);
            let q = t.rope(q, &inputs.positions, &model.rope);
            let k = t.rope(k, &inputs.positions, &model.rope);
            let (k, v) = match cache {
                Some(cache) => t.write_cache(k, v, &inputs.positions, &cache[index]),
                None => (k, v),
            };
            let attended = t.attention(q, k, v, heads, &inputs.masks);
            let attended = self.linear(t, inputs, index, Module::OProj, attended);
            h = t.add(h, attended);
            let x = t.rms_norm(h, &layer.ffn_norm, config.norm_eps);
            let gate = self.linear(t, inputs, index, Module::GateProj, x);
            let up = self.linear(t, inputs, index, Module::UpProj, x);
            let x = t.swiglu(gate, up);
            let fed = self.linear(t, inputs, index, Module::DownProj, x);
            h = t.add(h, fed);
        }
        t.rms_norm(h, &model.norm, config.norm_eps)
    }
}
