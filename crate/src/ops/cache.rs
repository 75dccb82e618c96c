//! The key-value cache of one layer.

use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, kernels, spread};
use crate::tape::{Op, Tape, Var};

/// Keys and values of every position so far: two `[positions, K * D]` buffers.
pub struct CacheLayer {
    keys: Buffer,
    values: Buffer,
    positions: usize,
}

impl CacheLayer {
    /// An empty cache for `positions` positions of `channels` = K * D numbers.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when it is larger than one binding.
    pub fn new(context: &Context, positions: usize, channels: usize) -> Result<Self> {
        let bytes = (positions * channels * 4) as u64;
        let (keys, values) = (context.buffer("key cache", bytes)?, context.buffer("value cache", bytes)?);
        Ok(Self { keys, values, positions })
    }
}

struct Write {
    x: Var,
    positions: BufferId,
    cache: BufferId,
}

impl Tape {
    /// Puts new keys and values `[T, K * D]` at their positions, and returns the whole cache as values
    /// `[positions, K * D]` for attention. Generation only: nothing flows back.
    pub fn write_cache(&mut self, k: Var, v: Var, positions: &Buffer, layer: &CacheLayer) -> (Var, Var) {
        let positions = self.list.fixed(positions);
        let channels = self.cols(k);
        let mut store = |x, buffer| {
            let cache = self.list.fixed(buffer);
            self.push(Write { x, positions, cache }, false);
            self.leaf(layer.positions, channels, buffer, None)
        };
        (store(k, &layer.keys), store(v, &layer.values))
    }
}

impl Op for Write {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.x);
        let params = kernels::cache_write::Params { channels: t.cols(self.x) as u32, count: count as u32 };
        let bindings = [t.value(self.x).into(), self.positions.into(), self.cache.into()];
        t.list.dispatch(&kernels::CACHE_WRITE, &bindings, &params, spread(count));
    }

    fn backward(&self, _: &mut Tape) {
        unreachable!("the cache is written in generation only, and is pushed as needing no gradient");
    }

    fn output(&self) -> Option<Var> {
        None
    }
}
