//! Keys and values that are trained: prefix tuning (Li and Liang 2021, arXiv:2101.00190).

use super::Heads;
use crate::gpu::{Buffer, BufferId, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct PlacePrefix {
    qkv: Var,
    ids: BufferId,
    vocab: usize,
    prefix: Var,
    y: Var,
}

impl Tape<'_> {
    /// `qkv` `[T, (H + 2 K) D]`, in which each row with an id of V + j has row j of `prefix` `[n, 2 K D]` for its columns
    /// of k and v. Rows past the prefix's end stay.
    pub fn place_prefix(&mut self, qkv: Var, ids: &Buffer, vocab: usize, prefix: Var, heads: Heads) -> Var {
        assert_eq!(self.cols(prefix), 2 * heads.kv_heads * heads.head_dim, "a prefix has the columns of k and v");
        let needs_grad = self.needs_grad(qkv) || self.needs_grad(prefix);
        let y = self.var(self.rows(qkv), self.cols(qkv), needs_grad);
        let ids = self.list.fixed(ids);
        self.push(PlacePrefix { qkv, ids, vocab, prefix, y }, needs_grad);
        y
    }
}

impl Op for PlacePrefix {
    fn forward(&self, t: &mut Tape) {
        let count = t.count(self.y);
        let params = kernels::prefix_forward::Params {
            cols: t.cols(self.y) as u32,
            width: t.cols(self.prefix) as u32,
            vocab: self.vocab as u32,
            tokens: t.rows(self.prefix) as u32,
            count: count as u32,
        };
        let bindings = [t.value(self.qkv).into(), self.ids.into(), t.value(self.prefix).into(), t.value(self.y).into()];
        t.list.dispatch(&kernels::PREFIX_FORWARD, &bindings, &params, spread(count));
    }

    // What is replaced has no gradient; its dy goes to the row of the prefix that stands there, summed over all of them.
    fn backward(&self, t: &mut Tape) {
        let (rows, cols, width, dy) = (t.rows(self.y), t.cols(self.y), t.cols(self.prefix), t.grad(self.y));
        let tokens = t.rows(self.prefix) as u32;
        if let Some((dprefix, accumulate)) = t.grad_target(self.prefix) {
            let count = t.count(self.prefix);
            let params = kernels::prefix_backward_prefix::Params {
                cols: cols as u32,
                width: width as u32,
                vocab: self.vocab as u32,
                rows: rows as u32,
                count: count as u32,
                accumulate,
            };
            let bindings = [self.ids.into(), dy.into(), dprefix.into()];
            t.list.weigh((count * rows) as f64);
            t.list.dispatch(&kernels::PREFIX_BACKWARD_PREFIX, &bindings, &params, spread(count));
        }
        if let Some((dqkv, accumulate)) = t.grad_target(self.qkv) {
            let count = t.count(self.y);
            let params = kernels::prefix_backward_qkv::Params {
                cols: cols as u32,
                width: width as u32,
                vocab: self.vocab as u32,
                tokens,
                count: count as u32,
                accumulate,
            };
            let bindings = [self.ids.into(), dy.into(), dqkv.into()];
            t.list.dispatch(&kernels::PREFIX_BACKWARD_QKV, &bindings, &params, spread(count));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
