//! The next token of each sequence, chosen on the device from its logits.

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::gpu::{Buffer, Context, kernels};
use crate::tape::Tape;

/// How a token is chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct ChooseBy {
    /// 0 takes the likeliest token; above, logits are divided by it and a token is drawn.
    pub temperature: f32,
    /// Draw only from so many of the likeliest tokens, and those that are as likely as the last of them; 0 is from all.
    pub top_k: u32,
    /// Draw only from the likeliest tokens that hold this share of the probability.
    pub top_p: f32,
    /// Draw only from tokens that are at least this many times as likely as the likeliest.
    pub min_p: f32,
    /// Above 1, tokens that were there before become less likely.
    pub repetition_penalty: f32,
}

/// A token that was chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Chosen {
    /// Its id.
    pub id: u32,
    /// Its log-probability under `softmax(logits / temperature)`, the temperature 0 taken for 1: before the penalty and
    /// before anything is left out, as a later pass over the same tokens gives it.
    pub logp: f32,
}

/// What [`Tape::choose`] reads beside logits `[R, V]`, and what it writes.
pub struct Choice {
    by: Buffer,
    keys: Buffer,
    seen: Buffer,
    vocab: usize,
    /// A [`Chosen`] for each row.
    pub chosen: Buffer,
}

impl Choice {
    /// Room for `rows` sequences.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn new(context: &Context, rows: usize, vocab: usize) -> Result<Self> {
        let buffer = |name, words: usize| context.buffer(name, words as u64 * 4);
        Ok(Self {
            by: buffer("how tokens are chosen", size_of::<ChooseBy>() / 4)?,
            keys: buffer("keys of draws", 2 * rows)?,
            seen: buffer("tokens seen", rows * vocab.div_ceil(32))?,
            vocab,
            chosen: buffer("chosen tokens", 2 * rows)?,
        })
    }

    /// Uploads how tokens are chosen from here on.
    pub fn write_by(&self, context: &Context, by: &ChooseBy) {
        context.write(&self.by, 0, std::slice::from_ref(by));
    }

    /// Uploads for each row 64 random bits, which decide its draw.
    pub fn write_keys(&self, context: &Context, keys: &[[u32; 2]]) {
        context.write(&self.keys, 0, keys);
    }

    /// Uploads for each row the ids that were there before: only a penalty asks for them. An id past the vocabulary, that of
    /// a virtual token, has no logit.
    pub fn write_seen(&self, context: &Context, rows: &[&[u32]]) {
        let words = self.vocab.div_ceil(32);
        let mut bits = vec![0_u32; rows.len() * words];
        for (ids, bits) in rows.iter().zip(bits.chunks_mut(words)) {
            for &id in ids.iter().filter(|&&id| (id as usize) < self.vocab) {
                bits[id as usize / 32] |= 1 << (id % 32);
            }
        }
        context.write(&self.seen, 0, &bits);
    }
}

impl Tape<'_> {
    /// Chooses a token for each of the rows of `logits` that `choice` has room for.
    pub fn choose(&mut self, logits: &Buffer, choice: &Choice) {
        let Choice { by, keys, seen, vocab, chosen } = choice;
        let rows = (chosen.size() / size_of::<Chosen>() as u64) as u32;
        let params = kernels::choose_token::Params { vocab: *vocab as u32 };
        let bindings = [by, keys, seen, logits, chosen].map(|buffer| self.list.fixed(buffer).into());
        self.list.dispatch(&kernels::CHOOSE_TOKEN, &bindings, &params, [rows, 1, 1]);
    }
}
