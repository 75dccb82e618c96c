//! The key-value cache of one layer.

use super::Heads;
use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, kernels, spread};
use crate::tape::{Op, Tape, Var};

/// Keys and values of the positions so far, of one sequence or of several: two `[positions, K * D]` buffers.
pub struct CacheLayer {
    keys: Buffer,
    values: Buffer,
    positions: usize,
    channels: usize,
}

impl CacheLayer {
    /// An empty cache for `positions` positions of `channels` = K * D numbers.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when it is larger than one binding.
    pub fn new(context: &Context, positions: usize, channels: usize) -> Result<Self> {
        let bytes = (positions * channels * 4) as u64;
        let (keys, values) = (context.buffer("key cache", bytes)?, context.buffer("value cache", bytes)?);
        Ok(Self { keys, values, positions, channels })
    }
}

struct Write {
    qkv: Var,
    places: BufferId,
    keys: BufferId,
    values: BufferId,
    channels: usize,
}

struct Share {
    sources: BufferId,
    keys: BufferId,
    values: BufferId,
    params: kernels::cache_share::Params,
}

impl Tape<'_> {
    /// Copies what slots of the cache begin with from other slots: `sources` `[slots, 2]` has for each slot the one to copy from,
    /// itself where nothing is copied, and how many rows, `rows` at most. `slot_rows` is a slot's share of the cache.
    pub fn share_cache(&mut self, layer: &CacheLayer, sources: &Buffer, slot_rows: usize, rows: usize) {
        let (slots, channels) = (layer.positions / slot_rows, layer.channels / 4);
        let params = kernels::cache_share::Params {
            slot_rows: slot_rows as u32,
            rows: rows as u32,
            channels: channels as u32,
            count: (slots * rows * channels) as u32,
        };
        let sources = self.list.fixed(sources);
        let (keys, values) = (self.list.fixed(&layer.keys), self.list.fixed(&layer.values));
        self.push(Share { sources, keys, values, params }, false);
    }

    /// Puts the new keys and values in the last columns of `qkv` `[T, (H + 2 K) D]` in the rows of the cache that `places`
    /// `[T]` names, and returns the whole cache as values `[positions, K * D]` for attention. Generation only: nothing flows back.
    pub fn write_cache(&mut self, qkv: Var, heads: Heads, places: &Buffer, layer: &CacheLayer) -> (Var, Var) {
        let channels = heads.kv_heads * heads.head_dim;
        let places = self.list.fixed(places);
        let (keys, values) = (self.list.fixed(&layer.keys), self.list.fixed(&layer.values));
        self.push(Write { qkv, places, keys, values, channels }, false);
        let mut whole = |buffer| self.leaf(layer.positions, channels, buffer, None);
        (whole(&layer.keys), whole(&layer.values))
    }
}

impl Op for Write {
    fn forward(&self, t: &mut Tape) {
        let count = t.rows(self.qkv) * self.channels;
        let params = kernels::cache_write::Params {
            queries: (t.cols(self.qkv) - 2 * self.channels) as u32,
            channels: self.channels as u32,
            count: count as u32,
        };
        let bindings = [t.value(self.qkv).into(), self.places.into(), self.keys.into(), self.values.into()];
        t.list.dispatch(&kernels::CACHE_WRITE, &bindings, &params, spread(count));
    }

    fn backward(&self, _: &mut Tape) {
        unreachable!("the cache is written in generation only, and is pushed as needing no gradient");
    }

    fn output(&self) -> Option<Var> {
        None
    }
}

impl Op for Share {
    fn forward(&self, t: &mut Tape) {
        let bindings = [self.sources.into(), self.keys.into(), self.values.into()];
        t.list.dispatch(&kernels::CACHE_SHARE, &bindings, &self.params, spread(self.params.count as usize));
    }

    fn backward(&self, _: &mut Tape) {
        unreachable!("the cache is shared in generation only, and is pushed as needing no gradient");
    }

    fn output(&self) -> Option<Var> {
        None
    }
}
