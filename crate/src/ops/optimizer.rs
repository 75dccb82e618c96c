//! Gradient norm, clipping and AdamW over the flat parameters.

use crate::gpu::{Buffer, Recorder, kernels, spread};

/// The gradient norm is summed in pieces of at most this many parameters, one workgroup each.
pub const PIECE: usize = 16384;

/// Weight decay is for all of this many parameters, or for none of them.
pub const DECAY_BLOCK: usize = 64;

/// The buffers of one optimizer. Parameters may lie in several buffers, and what belongs to them is laid out alike.
pub struct Hyper<'a> {
    /// The parameters, f32.
    pub values: &'a [Buffer],
    /// Their gradients.
    pub grads: &'a [Buffer],
    /// First moments.
    pub m: &'a [Buffer],
    /// Second moments.
    pub v: &'a [Buffer],
    /// For each buffer, which of its blocks of [`DECAY_BLOCK`] parameters decay: bit `b % 32` of word `b / 32` is block b's.
    pub decays: &'a [Buffer],
    /// `(offset, length)` of each piece in its buffer, u32 pairs, buffer after buffer.
    pub pieces: &'a Buffer,
    /// Sum of squared gradients of each piece.
    pub sums: &'a Buffer,
    /// The step's numbers, eight f32: max_norm (0: no clipping), lr, 1 - beta1, 1 - beta2, eps, weight decay,
    /// 1 - beta1^t, sqrt(1 - beta2^t).
    pub hyper: &'a Buffer,
    /// Norm and clip factor, two f32; a factor of 0 says that the step was skipped.
    pub state: &'a Buffer,
}

/// Records one optimizer step: norm, clip factor, AdamW. `sizes`: elements and pieces of each buffer of parameters.
pub fn record_step(list: &mut Recorder, buffers: &Hyper, sizes: &[(usize, usize)]) {
    let table = list.fixed(buffers.pieces);
    let [sums, hyper, state] = [buffers.sums, buffers.hyper, buffers.state].map(|buffer| list.fixed(buffer));

    let mut first = 0;
    for (grads, &(_, count)) in buffers.grads.iter().zip(sizes) {
        let params = kernels::optimizer_square_sum::Params { first, pieces: count as u32 };
        let bindings = [list.fixed(grads).into(), table.into(), sums.into()];
        list.dispatch(&kernels::OPTIMIZER_SQUARE_SUM, &bindings, &params, [count as u32, 1, 1]);
        first += count as u32;
    }

    let params = kernels::optimizer_clip::Params { pieces: first };
    list.dispatch(&kernels::OPTIMIZER_CLIP, &[sums.into(), hyper.into(), state.into()], &params, [1, 1, 1]);

    for (index, &(count, _)) in sizes.iter().enumerate() {
        let params = kernels::optimizer_adamw::Params { count: count as u32 };
        let flat = [buffers.decays, buffers.grads, buffers.values, buffers.m, buffers.v].map(|buffers| &buffers[index]);
        let bindings: Vec<_> =
            [hyper, state].into_iter().chain(flat.map(|buffer| list.fixed(buffer))).map(Into::into).collect();
        list.dispatch(&kernels::OPTIMIZER_ADAMW, &bindings, &params, spread(count));
    }
}
