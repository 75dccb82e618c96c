//! Gradient norm, clipping and AdamW over the flat parameters.

use crate::gpu::{Buffer, Recorder, kernels, spread};

/// The gradient norm is summed in pieces of at most this many parameters, one workgroup each.
pub const PIECE: usize = 16384;

/// The buffers of one optimizer, flat and of one length but for the small ones.
pub struct Hyper<'a> {
    /// The parameters, f32.
    pub values: &'a Buffer,
    /// Their gradients.
    pub grads: &'a Buffer,
    /// First moments.
    pub m: &'a Buffer,
    /// Second moments.
    pub v: &'a Buffer,
    /// `(offset, length)` of each piece, u32 pairs.
    pub pieces: &'a Buffer,
    /// Sum of squared gradients of each piece.
    pub sums: &'a Buffer,
    /// The step's numbers, eight f32: max_norm (0: no clipping), lr, 1 - beta1, 1 - beta2, eps, weight decay,
    /// 1 - beta1^t, sqrt(1 - beta2^t).
    pub hyper: &'a Buffer,
    /// Norm and clip factor, two f32; a factor of 0 says that the step was skipped.
    pub state: &'a Buffer,
}

/// Records one optimizer step: norm, clip factor, AdamW.
pub fn record_step(list: &mut Recorder, buffers: &Hyper, count: usize, pieces: usize) {
    let id = |list: &mut Recorder, buffer| list.fixed(buffer);
    let (values, grads) = (id(list, buffers.values), id(list, buffers.grads));
    let (m, v) = (id(list, buffers.m), id(list, buffers.v));
    let (table, sums) = (id(list, buffers.pieces), id(list, buffers.sums));
    let (hyper, state) = (id(list, buffers.hyper), id(list, buffers.state));

    let params = kernels::optimizer_square_sum::Params { pieces: pieces as u32 };
    let bindings = [grads.into(), table.into(), sums.into()];
    list.dispatch(&kernels::OPTIMIZER_SQUARE_SUM, &bindings, &params, [pieces as u32, 1, 1]);

    let params = kernels::optimizer_clip::Params { pieces: pieces as u32 };
    list.dispatch(&kernels::OPTIMIZER_CLIP, &[sums.into(), hyper.into(), state.into()], &params, [1, 1, 1]);

    let params = kernels::optimizer_adamw::Params { count: count as u32 };
    let bindings = [hyper.into(), state.into(), grads.into(), values.into(), m.into(), v.into()];
    list.dispatch(&kernels::OPTIMIZER_ADAMW, &bindings, &params, spread(count));
}
