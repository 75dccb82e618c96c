//! Causal grouped-query attention over packed segments.

use crate::gpu::{Buffer, BufferId, Kernel, kernels, spread};
use crate::tape::{Op, Tape, Var};

/// Head dimensions that have kernels.
pub const HEAD_DIMS: [usize; 7] = [16, 32, 48, 64, 80, 96, 128];

/// H, K and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// D, one of [`HEAD_DIMS`].
    pub head_dim: usize,
}

/// Who sees whom, as pairs of u32 `[start, end)`, never decreasing from row to row.
#[derive(Clone)]
pub struct Masks {
    /// For each query row, the keys it sees.
    pub keys_of_row: Buffer,
    /// For each key, the query rows that see it; only training reads it.
    pub rows_of_key: Buffer,
}

struct Attention {
    q: Var,
    k: Var,
    v: Var,
    heads: Heads,
    keys_of_row: BufferId,
    rows_of_key: BufferId,
    stats: BufferId,
    y: Var,
}

fn variant(kernels: [&'static Kernel; 7], head_dim: usize) -> &'static Kernel {
    let index = HEAD_DIMS.iter().position(|&dim| dim == head_dim).expect("the model's config was checked");
    kernels[index]
}

impl Tape {
    /// `softmax(q k^T / sqrt(D)) v`: q `[T, H * D]`; k, v `[keys, K * D]`; result `[T, H * D]`.
    pub fn attention(&mut self, q: Var, k: Var, v: Var, heads: Heads, masks: &Masks) -> Var {
        let needs_grad = [q, k, v].into_iter().any(|x| self.needs_grad(x));
        let y = self.var(self.rows(q), self.cols(q), needs_grad);
        let stats = self.list.planned(2 * self.rows(q) * heads.heads);
        let keys_of_row = self.list.fixed(&masks.keys_of_row);
        let rows_of_key = self.list.fixed(&masks.rows_of_key);
        self.push(Attention { q, k, v, heads, keys_of_row, rows_of_key, stats, y }, needs_grad);
        y
    }
}

impl Attention {
    fn scale(&self) -> f32 {
        1.0 / (self.heads.head_dim as f32).sqrt()
    }
}

impl Op for Attention {
    fn forward(&self, t: &mut Tape) {
        use kernels::*;
        let rows = t.rows(self.q);
        let params = attention_forward::Params {
            rows: rows as u32,
            heads: self.heads.heads as u32,
            kv_heads: self.heads.kv_heads as u32,
            scale: self.scale(),
        };
        let bindings = [
            t.value(self.q).into(),
            t.value(self.k).into(),
            t.value(self.v).into(),
            self.keys_of_row.into(),
            t.value(self.y).into(),
            self.stats.into(),
        ];
        let kernel = variant(
            [
                &ATTENTION_FORWARD_D16,
                &ATTENTION_FORWARD_D32,
                &ATTENTION_FORWARD_D48,
                &ATTENTION_FORWARD_D64,
                &ATTENTION_FORWARD_D80,
                &ATTENTION_FORWARD_D96,
                &ATTENTION_FORWARD_D128,
            ],
            self.heads.head_dim,
        );
        t.list.dispatch(kernel, &bindings, &params, [rows.div_ceil(32) as u32, self.heads.heads as u32, 1]);
    }

    fn backward(&self, t: &mut Tape) {
        use kernels::*;
        let (rows, keys, dy) = (t.rows(self.q), t.rows(self.k), t.grad(self.y));
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let count = rows * heads;
        let params = attention_backward_delta::Params { head_dim: head_dim as u32, count: count as u32 };
        let bindings = [t.value(self.y).into(), dy.into(), self.stats.into()];
        t.list.dispatch(&ATTENTION_BACKWARD_DELTA, &bindings, &params, spread(count));

        if let Some((dq, accumulate)) = t.grad_target(self.q) {
            let params = attention_backward_query::Params {
                rows: rows as u32,
                heads: heads as u32,
                kv_heads: kv_heads as u32,
                accumulate,
                scale: self.scale(),
            };
            let bindings = [
                t.value(self.q).into(),
                t.value(self.k).into(),
                t.value(self.v).into(),
                self.keys_of_row.into(),
                self.stats.into(),
                dy.into(),
                dq.into(),
            ];
            let kernel = variant(
                [
                    &ATTENTION_BACKWARD_QUERY_D16,
                    &ATTENTION_BACKWARD_QUERY_D32,
                    &ATTENTION_BACKWARD_QUERY_D48,
                    &ATTENTION_BACKWARD_QUERY_D64,
                    &ATTENTION_BACKWARD_QUERY_D80,
                    &ATTENTION_BACKWARD_QUERY_D96,
                    &ATTENTION_BACKWARD_QUERY_D128,
                ],
                head_dim,
            );
            t.list.dispatch(kernel, &bindings, &params, [rows.div_ceil(32) as u32, heads as u32, 1]);
        }

        if !t.needs_grad(self.k) && !t.needs_grad(self.v) {
            return;
        }
        // One kernel makes both gradients; an input that needs none gets a buffer nobody reads.
        let unread = keys * kv_heads * head_dim;
        let mut target = |input| t.grad_target(input).unwrap_or_else(|| (t.list.planned(unread), 0));
        let (dk, accumulate_k) = target(self.k);
        let (dv, accumulate_v) = target(self.v);
        let params = attention_backward_key_value::Params {
            keys: keys as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            accumulate_k,
            accumulate_v,
            scale: self.scale(),
        };
        let bindings = [
            t.value(self.q).into(),
            t.value(self.k).into(),
            t.value(self.v).into(),
            self.rows_of_key.into(),
            self.stats.into(),
            dy.into(),
            dk.into(),
            dv.into(),
        ];
        let kernel = variant(
            [
                &ATTENTION_BACKWARD_KEY_VALUE_D16,
                &ATTENTION_BACKWARD_KEY_VALUE_D32,
                &ATTENTION_BACKWARD_KEY_VALUE_D48,
                &ATTENTION_BACKWARD_KEY_VALUE_D64,
                &ATTENTION_BACKWARD_KEY_VALUE_D80,
                &ATTENTION_BACKWARD_KEY_VALUE_D96,
                &ATTENTION_BACKWARD_KEY_VALUE_D128,
            ],
            head_dim,
        );
        t.list.dispatch(kernel, &bindings, &params, [keys.div_ceil(32) as u32, kv_heads as u32, 1]);
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
