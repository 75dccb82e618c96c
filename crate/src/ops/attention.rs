//! Causal grouped-query attention over packed segments.

use crate::gpu::{Binding, Buffer, BufferId, Form, Kernel, Recorder, Tunable, kernels, spread, stride};
use crate::tape::{Op, Origin, Tape, Turned, Var};

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
    qkv: Var,
    /// Keys and values that are not those in `qkv`.
    cache: Option<(Var, Var)>,
    heads: Heads,
    keys_of_row: BufferId,
    rows_of_key: BufferId,
    stats: BufferId,
    y: Var,
}

impl Tape<'_> {
    /// `softmax(q k^T / sqrt(D)) v`, zeros where a row sees no key: qkv `[T, (H + 2 K) D]` holds the columns of q, k and v
    /// side by side; result `[T, H * D]`. With a cache, k and v are its two `[keys, K * D]`, and nothing flows back.
    pub fn attention(&mut self, qkv: Var, cache: Option<(Var, Var)>, heads: Heads, masks: &Masks) -> Var {
        let needs_grad = self.needs_grad(qkv) && cache.is_none();
        let y = self.var(self.rows(qkv), heads.heads * heads.head_dim, needs_grad);
        let stats = self.list.planned(2 * self.rows(qkv) * heads.heads);
        let keys_of_row = self.list.fixed(&masks.keys_of_row);
        let rows_of_key = self.list.fixed(&masks.rows_of_key);
        self.push(Attention { qkv, cache, heads, keys_of_row, rows_of_key, stats, y }, needs_grad);
        y
    }
}

impl Attention {
    fn scale(&self) -> f32 {
        1.0 / (self.heads.head_dim as f32).sqrt()
    }

    /// The rotation of `qkv`, where it is of all heads of q and k, each by itself.
    fn turned(&self, t: &Tape) -> Option<Turned> {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        match t.origin(self.qkv) {
            Some(Origin::Turned(turned))
                if turned.head_dim == head_dim && turned.cols == (heads + kv_heads) * head_dim =>
            {
                Some(turned)
            }
            _ => None,
        }
    }

    /// A kernel, and the grid in which it goes through these rows of these heads.
    fn kernel(&self, list: &Recorder, name: &'static str, rows: usize, heads: usize) -> (&'static Kernel, [u32; 3]) {
        let Heads { heads: all, kv_heads, head_dim } = self.heads;
        let form = list.form(Tunable::Attention { kernel: name, rows, heads: all, kv_heads, head_dim });
        let (form, groups) = match list.subgroup() {
            // Tiles of query rows, or of keys.
            0 => {
                // The sums of keys and of values are too many for 64 keys of a wide head.
                let (form, tile) = match (name, form, head_dim) {
                    (_, Form::Small, _) | ("backward_key_value", _, 80..) => ("_small", 32),
                    _ => ("", 64),
                };
                (form.to_owned(), [rows.div_ceil(tile), heads, 1])
            }
            lanes => {
                // As many rows a lane as a processor's nearest caches have room for, of data and of code, of all heads that
                // share one together.
                let tile = lanes as usize
                    * match (name, head_dim, lanes) {
                        ("backward_key_value", 64, 8) => 2,
                        (_, 32..=64, _) => 4,
                        _ => 2,
                    };
                (format!("_sg{lanes}"), [(rows * heads / kv_heads).div_ceil(tile), kv_heads, 1])
            }
        };
        // The model's config was checked: its head dimension has kernels.
        (Kernel::named(&format!("attention_{name}_d{head_dim}{form}")), groups.map(|n| n as u32))
    }
}

impl Op for Attention {
    fn forward(&self, t: &mut Tape) {
        use kernels::*;
        let rows = t.rows(self.qkv);
        let Heads { heads, kv_heads, head_dim } = self.heads;
        // In vec4.
        let d4 = head_dim / 4;
        let row = (heads + 2 * kv_heads) * d4;
        let (k, v, kv_row, k_at, v_at) = match self.cache {
            Some((k, v)) => (k, v, kv_heads * d4, 0, 0),
            None => (self.qkv, self.qkv, row, heads * d4, (heads + kv_heads) * d4),
        };
        let (kernel, groups) = self.kernel(&t.list, "forward", rows, heads);
        let params = attention_forward::Params {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            q_row: row as u32,
            kv_row: kv_row as u32,
            k_at: k_at as u32,
            v_at: v_at as u32,
            scale: self.scale(),
            stride: stride(groups[0] as usize),
        };
        let bindings = [
            t.value(self.qkv).into(),
            t.value(k).into(),
            t.value(v).into(),
            self.keys_of_row.into(),
            t.value(self.y).into(),
            self.stats.into(),
        ];
        // Every other key of a row on average, where the rows are one segment.
        t.list.weigh(2.0 * (rows * heads * head_dim) as f64 * t.rows(k) as f64);
        t.list.dispatch(kernel, &bindings, &params, groups);
    }

    // Heads that were turned are turned back here: the gradient goes to what the rotation was given.
    fn backward(&self, t: &mut Tape) {
        use kernels::*;
        let turned = self.turned(t);
        let Some((dqkv, accumulate)) = t.grad_target(turned.map_or(self.qkv, |turned| turned.from)) else { return };
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let (rows, qkv, dy) = (t.rows(self.qkv), t.value(self.qkv), t.grad(self.y));
        // What is not read is stood in for.
        let turn: [Binding; 2] = turned
            .map_or([self.keys_of_row.into(), qkv.into()], |turned| [turned.positions.into(), turned.table.into()]);
        let (turned, scale) = (u32::from(turned.is_some()), self.scale());
        // Too many for 32 bits, which are what wasm has.
        let pairs = (rows * heads * head_dim) as f64 * rows as f64;

        // The kernels write different columns. The first also leaves in the statistics what the second reads.
        let (kernel, groups) = self.kernel(&t.list, "backward_query", rows, heads);
        let params = attention_backward_query::Params {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            scale,
            accumulate,
            turned,
            stride: stride(groups[0] as usize),
        };
        let bindings =
            [qkv.into(), self.keys_of_row.into(), t.value(self.y).into(), dy.into(), self.stats.into(), dqkv.into()];
        t.list.weigh(3.0 * pairs);
        t.list.dispatch(kernel, &[&bindings[..], &turn].concat(), &params, groups);

        // A processor has enough to do for each key-value head.
        let width = if t.list.subgroup() > 0 { kv_heads } else { heads };
        let parts = t.list.planned(rows * 2 * width * head_dim);
        let (kernel, groups) = self.kernel(&t.list, "backward_key_value", rows, width);
        let params = attention_backward_key_value::Params {
            keys: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            scale,
            stride: stride(groups[0] as usize),
        };
        let bindings = [qkv.into(), self.rows_of_key.into(), self.stats.into(), dy.into(), parts.into()];
        t.list.weigh(4.0 * pairs);
        t.list.dispatch(kernel, &bindings, &params, groups);

        let count = rows * 2 * kv_heads * head_dim / 4;
        let params = attention_add_parts::Params {
            count: count as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            shares: (width / kv_heads) as u32,
            d4: head_dim as u32 / 4,
            accumulate,
            turned,
        };
        let bindings = [&[parts.into(), dqkv.into()], &turn[..]].concat();
        t.list.dispatch(&ATTENTION_ADD_PARTS, &bindings, &params, spread(count));
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
