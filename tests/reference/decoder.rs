//! A llama decoder with LoRA and virtual tokens, forward and backward written out.

use std::collections::BTreeMap;
use std::ops::Range;

use tunesmith::ops::{Heads, Scoring};

use super::{
    Matrix, Module, attention, attention_backward, cross_entropy, embed, rms_norm, rms_norm_backward, rope, swiglu,
    swiglu_backward,
};
use crate::golden::nano;

/// The frozen weights of a block.
#[derive(Clone, Debug)]
pub struct Block {
    attention_norm: Matrix,
    ffn_norm: Matrix,
    /// By [`Module`].
    linears: [Matrix; 7],
}

/// A frozen model, its rows of q and k in GGUF's interleaved order.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// `[V, C]`, and the language-model head too.
    pub embedding: Matrix,
    blocks: Vec<Block>,
    norm: Matrix,
    pub(super) heads: Heads,
    pub(super) rope_base: f64,
    pub(super) norm_eps: f64,
}

/// Low-rank matrices beside one linear layer: `y = W x + scale B A x`. As a gradient, those of A and B.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// A, `[r, in]`.
    pub a: Matrix,
    /// B, `[out, r]`, its rows in the order of the layer's.
    pub b: Matrix,
    /// alpha / r.
    pub scale: f64,
}

/// Everything that is trained, or the gradient of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// By layer and module.
    pub lora: BTreeMap<(usize, Module), Lora>,
    /// Virtual tokens `[n, C]`.
    pub prompt: Option<Matrix>,
}

/// A row that must predict something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The row.
    pub row: usize,
    /// The id that comes next.
    pub label: usize,
    /// What its loss counts in the sum.
    pub weight: f64,
}

/// The rows of one pass.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids; V + j is virtual token j.
    pub ids: Vec<u32>,
    /// Place of each row in its segment.
    pub positions: Vec<u32>,
    /// The rows that each row sees.
    pub seen: Vec<Range<usize>>,
    /// The rows that count.
    pub targets: Vec<Target>,
}

/// Which interleaved row each half-split row of q or k is: element p of pair j of a head.
fn half_split(rows: usize, head_dim: usize) -> Vec<usize> {
    let half = head_dim / 2;
    let in_head = |i: usize| 2 * (i % half) + i / half;
    (0..rows).map(|row| row / head_dim * head_dim + in_head(row % head_dim)).collect()
}

/// What the backward pass of a block needs.
struct Activations {
    /// Input, and its norm.
    h: Matrix,
    x: Matrix,
    /// Turned queries and keys, values, and what attention made of them.
    q: Matrix,
    k: Matrix,
    v: Matrix,
    attended: Matrix,
    /// After attention, and its norm.
    mid: Matrix,
    fed: Matrix,
    gate: Matrix,
    up: Matrix,
    act: Matrix,
}

impl Batch {
    /// One segment: `virtual_tokens` rows before `ids`.
    pub fn segment(ids: &[u32], virtual_tokens: usize, vocab: usize) -> Self {
        let ids: Vec<u32> = (vocab as u32..).take(virtual_tokens).chain(ids.iter().copied()).collect();
        let rows = 0..ids.len();
        Self {
            positions: rows.clone().map(|row| row as u32).collect(),
            seen: rows.map(|row| 0..row + 1).collect(),
            ids,
            targets: Vec::new(),
        }
    }

    /// One training example, each of its targets counting `weight`. `labels` as in the fixtures: not shifted, -100
    /// where there is no target.
    pub fn example(ids: &[u32], labels: &[i32], virtual_tokens: usize, vocab: usize, weight: f64) -> Self {
        let targets = labels.iter().enumerate().skip(1).filter(|(_, label)| **label >= 0);
        let targets = targets.map(|(t, &label)| Target { row: virtual_tokens + t - 1, label: label as usize, weight });
        Self { targets: targets.collect(), ..Self::segment(ids, virtual_tokens, vocab) }
    }
}

impl Adapter {
    /// All zeros, of the same shape: where gradients add up.
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.tensors_mut().for_each(|tensor| tensor.data.fill(0.0));
        zeros
    }

    /// The tensors, in file order: A and B of each layer and module, then the virtual tokens.
    pub fn tensors(&self) -> impl Iterator<Item = &Matrix> {
        self.lora.values().flat_map(|lora| [&lora.a, &lora.b]).chain(&self.prompt)
    }

    /// The tensors, to write to.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        self.lora.values_mut().flat_map(|lora| [&mut lora.a, &mut lora.b]).chain(&mut self.prompt)
    }

    /// All values, tensor after tensor.
    pub fn flat(&self) -> Vec<f64> {
        self.tensors().flat_map(|tensor| tensor.data.iter().copied()).collect()
    }

    /// The inverse of [`Adapter::flat`].
    pub fn set_flat(&mut self, values: &[f64]) {
        let mut values = values.iter().copied();
        self.tensors_mut().for_each(|tensor| tensor.data.iter_mut().zip(&mut values).for_each(|(to, from)| *to = from));
    }
}

impl Decoder {
    /// The nano model of the fixtures.
    pub fn nano() -> Self {
        let weights = nano::weights();
        let heads = Heads { heads: nano::HEADS, kv_heads: nano::KV_HEADS, head_dim: nano::HEAD_DIM };
        Self::of(nano::LAYERS, heads, f64::from(nano::ROPE_BASE), f64::from(nano::RMS_EPS), |name| {
            let (shape, values) = &weights[name];
            let cols = *shape.last().expect("a tensor has a shape");
            Matrix::from_f32(values.len() / cols, cols, values)
        })
    }

    /// A model of so many blocks whose head is its embedding, from its weights by their names in a GGUF file.
    pub fn of(blocks: usize, heads: Heads, rope_base: f64, norm_eps: f64, matrix: impl Fn(&str) -> Matrix) -> Self {
        let block = |n: usize| {
            let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
            let part = |name: &str| matrix(&format!("blk.{n}.{name}.weight"));
            Block { attention_norm: part("attn_norm"), ffn_norm: part("ffn_norm"), linears: names.map(part) }
        };
        Self {
            embedding: matrix("token_embd.weight"),
            blocks: (0..blocks).map(block).collect(),
            norm: matrix("output_norm.weight"),
            heads,
            rope_base,
            norm_eps,
        }
    }

    /// Output and input features of a linear layer.
    pub fn shape(&self, module: Module) -> (usize, usize) {
        let weight = &self.blocks[0].linears[module as usize];
        (weight.rows, weight.cols)
    }

    /// Every weight by its Hugging Face name, in Hugging Face's row order.
    pub fn weights(&self) -> BTreeMap<String, Matrix> {
        let mut weights = BTreeMap::from([
            ("model.embed_tokens.weight".into(), self.embedding.clone()),
            ("model.norm.weight".into(), self.norm.clone()),
        ]);
        for (n, block) in self.blocks.iter().enumerate() {
            let layer = format!("model.layers.{n}");
            weights.insert(format!("{layer}.input_layernorm.weight"), block.attention_norm.clone());
            weights.insert(format!("{layer}.post_attention_layernorm.weight"), block.ffn_norm.clone());
            for module in Module::ALL {
                let weight = block.linears[module as usize].clone();
                let rows = match module {
                    Module::QProj | Module::KProj => half_split(weight.rows, self.heads.head_dim),
                    _ => (0..weight.rows).collect(),
                };
                let data = rows.iter().flat_map(|&row| weight.row(row).iter().copied()).collect();
                weights.insert(format!("{layer}.{}.weight", module.path()), Matrix { data, ..weight });
            }
        }
        weights
    }

    fn linear(&self, adapter: &Adapter, layer: usize, module: Module, x: &Matrix) -> Matrix {
        let y = x.times_transposed(&self.blocks[layer].linears[module as usize]);
        match adapter.lora.get(&(layer, module)) {
            Some(lora) => y.plus(&x.times_transposed(&lora.a).times_transposed(&lora.b).scaled(lora.scale)),
            None => y,
        }
    }

    /// Returns dx, and adds the gradients of A and B: with low = x A^T and y = x W^T + s low B^T, dB = s dy^T low,
    /// dlow = s dy B, dA = dlow^T x, dx = dy W + dlow A.
    fn linear_backward(
        &self,
        (adapter, gradient): (&Adapter, &mut Adapter),
        (layer, module): (usize, Module),
        x: &Matrix,
        dy: &Matrix,
    ) -> Matrix {
        let dx = dy.times(&self.blocks[layer].linears[module as usize]);
        let Some(lora) = adapter.lora.get(&(layer, module)) else { return dx };
        let to = gradient.lora.get_mut(&(layer, module)).expect("a gradient has its adapter's shape");
        let (low, dlow) = (x.times_transposed(&lora.a), dy.times(&lora.b).scaled(lora.scale));
        to.b = to.b.plus(&dy.transposed_times(&low).scaled(lora.scale));
        to.a = to.a.plus(&dlow.transposed_times(x));
        dx.plus(&dlow.times(&lora.a))
    }

    fn turn(&self, x: &Matrix, batch: &Batch, sign: f64) -> Matrix {
        rope(x, &batch.positions, self.heads.head_dim, self.rope_base, sign)
    }

    /// The hidden states before the last norm, and what the blocks leave behind.
    fn run(&self, adapter: &Adapter, batch: &Batch) -> (Matrix, Vec<Activations>) {
        let mut h = embed(&batch.ids, &self.embedding, adapter.prompt.as_ref());
        let mut kept = Vec::new();
        for (n, block) in self.blocks.iter().enumerate() {
            let x = rms_norm(&h, &block.attention_norm, self.norm_eps);
            let q = self.turn(&self.linear(adapter, n, Module::QProj, &x), batch, 1.0);
            let k = self.turn(&self.linear(adapter, n, Module::KProj, &x), batch, 1.0);
            let v = self.linear(adapter, n, Module::VProj, &x);
            let attended = attention(&q, &k, &v, self.heads, Scoring::default(), &batch.seen);
            let mid = h.plus(&self.linear(adapter, n, Module::OProj, &attended));
            let fed = rms_norm(&mid, &block.ffn_norm, self.norm_eps);
            let gate = self.linear(adapter, n, Module::GateProj, &fed);
            let up = self.linear(adapter, n, Module::UpProj, &fed);
            let act = swiglu(&gate, &up);
            let out = mid.plus(&self.linear(adapter, n, Module::DownProj, &act));
            kept.push(Activations { h, x, q, k, v, attended, mid, fed, gate, up, act });
            h = out;
        }
        (h, kept)
    }

    /// The logits `[T, V]`.
    pub fn logits(&self, adapter: &Adapter, batch: &Batch) -> Matrix {
        let (h, _) = self.run(adapter, batch);
        rms_norm(&h, &self.norm, self.norm_eps).times_transposed(&self.embedding)
    }

    /// The weighted sum of the targets' losses.
    pub fn loss(&self, adapter: &Adapter, batch: &Batch) -> f64 {
        let logits = self.logits(adapter, batch);
        let loss = |target: &Target| target.weight * cross_entropy(logits.row(target.row), target.label).0;
        batch.targets.iter().map(loss).sum()
    }

    /// The loss, and its gradient to everything in the adapter.
    pub fn gradients(&self, adapter: &Adapter, batch: &Batch) -> (f64, Adapter) {
        let mut gradient = adapter.zeros_like();
        let (h, kept) = self.run(adapter, batch);
        let last = rms_norm(&h, &self.norm, self.norm_eps);
        let logits = last.times_transposed(&self.embedding);
        let mut loss = 0.0;
        let mut dlogits = Matrix::zeros(logits.rows, logits.cols);
        for target in &batch.targets {
            let (nll, slope) = cross_entropy(logits.row(target.row), target.label);
            loss += target.weight * nll;
            dlogits.row_mut(target.row).iter_mut().zip(slope).for_each(|(to, slope)| *to += target.weight * slope);
        }
        let mut dh = rms_norm_backward(&h, &self.norm, self.norm_eps, &dlogits.times(&self.embedding));
        for (n, (block, kept)) in self.blocks.iter().zip(&kept).enumerate().rev() {
            let mut back =
                |module, x: &Matrix, dy: &Matrix| self.linear_backward((adapter, &mut gradient), (n, module), x, dy);
            let dact = back(Module::DownProj, &kept.act, &dh);
            let [dgate, dup] = swiglu_backward(&kept.gate, &kept.up, &dact);
            let dfed = back(Module::GateProj, &kept.fed, &dgate).plus(&back(Module::UpProj, &kept.fed, &dup));
            let dmid = dh.plus(&rms_norm_backward(&kept.mid, &block.ffn_norm, self.norm_eps, &dfed));
            let dattended = back(Module::OProj, &kept.attended, &dmid);
            let [dq, dk, dv] =
                attention_backward(&kept.q, &kept.k, &kept.v, self.heads, Scoring::default(), &batch.seen, &dattended);
            let dx = back(Module::QProj, &kept.x, &self.turn(&dq, batch, -1.0))
                .plus(&back(Module::KProj, &kept.x, &self.turn(&dk, batch, -1.0)))
                .plus(&back(Module::VProj, &kept.x, &dv));
            dh = dmid.plus(&rms_norm_backward(&kept.h, &block.attention_norm, self.norm_eps, &dx));
        }
        if let Some(dprompt) = &mut gradient.prompt {
            for (row, &id) in batch.ids.iter().enumerate() {
                if let Some(token) = (id as usize).checked_sub(self.embedding.rows) {
                    dprompt.row_mut(token).iter_mut().zip(dh.row(row)).for_each(|(to, dh)| *to += dh);
                }
            }
        }
        (loss, gradient)
    }
}
