//! The importance of parameters over flat buffers, and what is masked by it: AdaLoRA's.

use crate::gpu::{Buffer, Recorder, kernels, spread};

fn count(buffer: &Buffer) -> usize {
    (buffer.size() / 4) as usize
}

/// Buffers of parameters, with what is laid out like them.
pub struct Importance<'a> {
    /// The parameters.
    pub values: &'a [Buffer],
    /// Their gradients, not clipped.
    pub grads: &'a [Buffer],
    /// Mean of `|p g|`.
    pub sensitivity: &'a [Buffer],
    /// Mean of how far it is from that mean.
    pub uncertainty: &'a [Buffer],
    /// What is left of both means in a step.
    pub betas: [f32; 2],
}

/// Records an update after a step whose norm and clip factor are in `state`.
pub fn record_importance(list: &mut Recorder, buffers: &Importance, state: &Buffer) {
    let state = list.fixed(state);
    let [beta1, beta2] = buffers.betas;
    for (index, values) in buffers.values.iter().enumerate() {
        let count = count(values);
        let params = kernels::importance_update::Params { count: count as u32, beta1, beta2 };
        let flat = [values, &buffers.grads[index], &buffers.sensitivity[index], &buffers.uncertainty[index]];
        let flat = flat.map(|buffer| list.fixed(buffer).into());
        let bindings: Vec<_> = std::iter::once(state.into()).chain(flat).collect();
        list.dispatch(&kernels::IMPORTANCE_UPDATE, &bindings, &params, spread(count));
    }
}

/// Records that parameters become 0 where `gone`, laid out like them, is not.
pub fn record_mask(list: &mut Recorder, values: &[Buffer], gone: &[Buffer]) {
    for (values, gone) in values.iter().zip(gone) {
        let count = count(values);
        let params = kernels::importance_mask::Params { count: count as u32 };
        let bindings = [list.fixed(gone).into(), list.fixed(values).into()];
        list.dispatch(&kernels::IMPORTANCE_MASK, &bindings, &params, spread(count));
    }
}
