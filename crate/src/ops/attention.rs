//! Causal grouped-query attention over packed segments.

use crate::gpu::{Binding, Buffer, BufferId, Form, Kernel, Recorder, Tunable, kernels, spread, stride};
use crate::tape::{Op, Origin, Tape, Turned, Var};

/// Head dimensions that have kernels.
pub const HEAD_DIMS: [usize; 8] = [16, 32, 48, 64, 80, 96, 128, 256];

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

/// What a layer makes of the products of queries and keys, and which of them it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scoring {
    /// Keys that a row sees at most, itself and those before it: the window of local attention (Beltagy et al. 2020,
    /// arXiv:2004.05150).
    pub window: Option<usize>,
    /// c, where a score s becomes `c tanh(s / c)`.
    pub soft_cap: Option<f32>,
}

impl Scoring {
    /// As kernels read it: more keys than there are, and 0, stand for none.
    fn params(self) -> (u32, f32) {
        let all = 1 << 30;
        (self.window.unwrap_or(all).min(all) as u32, self.soft_cap.unwrap_or(0.0))
    }
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
    scoring: Scoring,
    keys_of_row: BufferId,
    rows_of_key: BufferId,
    stats: BufferId,
    y: Var,
}

impl Tape<'_> {
    /// `softmax(q k^T / sqrt(D)) v`, zeros where a row sees no key: qkv `[T, (H + 2 K) D]` holds the columns of q, k and v
    /// side by side; result `[T, H * D]`. With a cache, k and v are its two `[keys, K * D]`, and nothing flows back.
    pub fn attention(
        &mut self,
        qkv: Var,
        cache: Option<(Var, Var)>,
        heads: Heads,
        scoring: Scoring,
        masks: &Masks,
    ) -> Var {
        let needs_grad = self.needs_grad(qkv) && cache.is_none();
        let y = self.var(self.rows(qkv), heads.heads * heads.head_dim, needs_grad);
        let stats = self.list.planned(2 * self.rows(qkv) * heads.heads);
        let keys_of_row = self.list.fixed(&masks.keys_of_row);
        let rows_of_key = self.list.fixed(&masks.rows_of_key);
        self.push(Attention { qkv, cache, heads, scoring, keys_of_row, rows_of_key, stats, y }, needs_grad);
        y
    }
}

/// Where the gradients of q, k and v go.
struct Target {
    dqkv: BufferId,
    accumulate: u32,
    /// Whether q and k were turned.
    turned: u32,
    /// By what: positions and the table of rotations.
    turn: [Binding; 2],
}

/// Keys whose scores' gradients are kept at a time, where they are.
struct Slab {
    /// The first, a multiple of 64.
    first: usize,
    /// The one behind the last.
    last: usize,
    /// Tiles of 64 rows from `first` on.
    row_tiles: usize,
    /// Tiles that a head keeps: of each 64 keys those of their rows and later ones.
    kept: usize,
    /// Rows from `first` on that one workgroup takes.
    split: usize,
}

/// Numbers of a tile of 64 keys and 64 rows.
const KEPT_TILE: usize = 64 * 64;
/// Most numbers that are kept: what a binding may have by WebGPU's default, 128 MiB.
const MOST_KEPT: usize = 32 << 20;

/// All keys in order, as many at a time as may be kept.
fn slabs(rows: usize, heads: usize) -> Vec<Slab> {
    let tiles = rows.div_ceil(64);
    let mut slabs = Vec::new();
    let mut first = 0;
    while first < tiles {
        let row_tiles = tiles - first;
        let (mut last, mut kept) = (first + 1, row_tiles);
        while last < tiles && heads * (kept + tiles - last) * KEPT_TILE <= MOST_KEPT {
            kept += tiles - last;
            last += 1;
        }
        // Four splits, or more of 512 rows: enough workgroups, and none that takes much longer than the others.
        let split = (row_tiles.div_ceil(4) * 64).clamp(128, 512);
        slabs.push(Slab { first: first * 64, last: (last * 64).min(rows), row_tiles, kept, split });
        first = last;
    }
    slabs
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
                let (form, groups) = match (name, form, head_dim) {
                    ("backward_key_value", _, 80..) => ("_small", rows.div_ceil(32)),
                    ("backward_query", Form::Small, _) => ("_small", 2 * rows.div_ceil(64)),
                    (_, Form::Small, _) => ("_small", rows.div_ceil(32)),
                    _ => ("", rows.div_ceil(64)),
                };
                // Each sums up 128 columns at most, and the sums of keys and values are shared out in z already.
                let parts = head_dim.div_ceil(128);
                let shape =
                    if name == "backward_key_value" { [groups, heads * parts, 1] } else { [groups, heads, parts] };
                (form.to_owned(), shape)
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

    /// About how many products a head's column has, of all rows with all keys.
    fn pairs(&self, t: &Tape, keys: usize) -> f64 {
        // Too many for 32 bits, which are what wasm has.
        (t.rows(self.qkv) * self.heads.heads * self.heads.head_dim) as f64 * keys as f64
    }

    fn backward_query(&self, t: &mut Tape, to: &Target, slab: &Slab, kept: Option<BufferId>) {
        let Heads { heads, kv_heads, .. } = self.heads;
        let rows = t.rows(self.qkv);
        let (kernel, groups) = self.kernel(&t.list, "backward_query", rows - slab.first, heads);
        let (window, cap) = self.scoring.params();
        let params = kernels::attention_backward_query::Params {
            rows: rows as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            scale: self.scale(),
            accumulate: to.accumulate | u32::from(slab.first > 0),
            turned: to.turned,
            stride: stride(groups[0] as usize),
            first: slab.first as u32,
            last: slab.last as u32,
            row_tiles: slab.row_tiles as u32,
            kept: slab.kept as u32,
            window,
            cap,
        };
        let [positions, table] = to.turn;
        let mut bindings: Vec<Binding> =
            vec![t.value(self.qkv).into(), self.keys_of_row.into(), positions, table, to.dqkv.into()];
        match kept {
            Some(kept) => bindings.push(kept.into()),
            None => bindings.extend([t.value(self.y), t.grad(self.y), self.stats].map(Binding::from)),
        }
        let products = if kept.is_some() { 1.0 } else { 3.0 };
        t.list.weigh(products * self.pairs(t, slab.last - slab.first));
        t.list.dispatch(kernel, &bindings, &params, groups);
    }

    fn backward_key_value(&self, t: &mut Tape, to: &Target, slab: &Slab, kept: Option<BufferId>) {
        let Heads { heads, kv_heads, head_dim } = self.heads;
        let keys = slab.last - slab.first;
        // A processor has enough to do for each key-value head.
        let width = if kept.is_some() { heads } else { kv_heads };
        let splits = (t.rows(self.qkv) - slab.first).div_ceil(slab.split);
        let parts = t.list.planned(splits * keys * 2 * width * head_dim);
        let (window, cap) = self.scoring.params();
        let (kernel, [tiles, groups, _]) = self.kernel(&t.list, "backward_key_value", keys, width);
        let params = kernels::attention_backward_key_value::Params {
            keys: t.rows(self.qkv) as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            scale: self.scale(),
            stride: stride(tiles as usize),
            first: slab.first as u32,
            last: slab.last as u32,
            row_tiles: slab.row_tiles as u32,
            kept: slab.kept as u32,
            split: slab.split as u32,
            window,
            cap,
        };
        let mut bindings: Vec<Binding> = vec![
            t.value(self.qkv).into(),
            self.rows_of_key.into(),
            self.stats.into(),
            t.grad(self.y).into(),
            parts.into(),
        ];
        if let Some(kept) = kept {
            bindings.extend([t.value(self.y), kept].map(Binding::from));
        }
        t.list.weigh(4.0 * self.pairs(t, keys));
        t.list.dispatch(kernel, &bindings, &params, [tiles, groups, splits as u32]);

        let count = keys * 2 * kv_heads * head_dim / 4;
        let params = kernels::attention_add_parts::Params {
            count: count as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            shares: (width / kv_heads) as u32,
            d4: head_dim as u32 / 4,
            accumulate: to.accumulate,
            turned: to.turned,
            first: slab.first as u32,
            splits: splits as u32,
            split: slab.split as u32,
        };
        let [positions, table] = to.turn;
        let bindings = [parts.into(), to.dqkv.into(), positions, table];
        t.list.dispatch(&kernels::ATTENTION_ADD_PARTS, &bindings, &params, spread(count));
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
        let (window, cap) = self.scoring.params();
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
            window,
            cap,
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
        let turned = self.turned(t);
        let Some((dqkv, accumulate)) = t.grad_target(turned.map_or(self.qkv, |turned| turned.from)) else { return };
        let qkv = t.value(self.qkv);
        // What is not read is stood in for.
        let turn = turned
            .map_or([self.keys_of_row.into(), qkv.into()], |turned| [turned.positions.into(), turned.table.into()]);
        let to = Target { dqkv, accumulate, turned: u32::from(turned.is_some()), turn };
        let rows = t.rows(self.qkv);
        if t.list.subgroup() > 0 {
            let all = Slab { first: 0, last: rows, row_tiles: 0, kept: 0, split: rows };
            self.backward_query(t, &to, &all, None);
            self.backward_key_value(t, &to, &all, None);
        } else {
            for slab in slabs(rows, self.heads.heads) {
                let kept = t.list.planned(self.heads.heads * slab.kept * KEPT_TILE);
                self.backward_key_value(t, &to, &slab, Some(kept));
                self.backward_query(t, &to, &slab, Some(kept));
            }
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_have_every_key_once_and_fit() {
        // Fits at once; does not quite; and so many heads that each 64 keys are a slab.
        for (rows, heads, count) in [(2048, 9, 1), (8192, 9, 10), (508, 256, 2), (300, 4096, 5)] {
            let slabs = slabs(rows, heads);
            assert_eq!(slabs.len(), count, "{rows} rows, {heads} heads");
            let mut first = 0;
            for slab in &slabs {
                assert_eq!((slab.first, slab.first % 64, slab.split % 64), (first, 0, 0));
                let tiles = (slab.first..slab.last).step_by(64).map(|key| (rows - key).div_ceil(64));
                assert_eq!(slab.kept, tiles.sum::<usize>());
                assert!(heads * slab.kept * KEPT_TILE <= MOST_KEPT || slab.last - slab.first <= 64);
                first = slab.last;
            }
            assert_eq!(first, rows);
        }
    }
}
