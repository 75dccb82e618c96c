//! The decoder with any tuning method, which its tensors' names say: those of PEFT's files, of its encoders, and for
//! what PEFT lacks those listed here (all below `base_model.model.`, N a layer, C the hidden size):
//!
//! - BitFit: `model.layers.N.self_attn.q_proj.bias` `[1, out]` of any linear layer, `model.layers.N.input_layernorm.bias`
//!   and so on of any norm, added last.
//! - Adapters (Houlsby et al. 2019, arXiv:1902.00751): `model.layers.N.self_attn.adapter` and `....mlp.adapter`, each
//!   with `down.weight` `[m, C]`, `down.bias`, `up.weight` `[C, m]`, `up.bias`; Pfeiffer et al. (arXiv:2005.00247) have
//!   only that after the MLP.
//! - UniPELT (Mao et al. 2021, arXiv:2110.07577): LoRA on q and v with `model.layers.N.self_attn.gate_lora.weight`
//!   `[1, C]` and `.bias` `[1, 1]`, an adapter after the MLP with `model.layers.N.mlp.gate_adapter`, and
//!   `model.layers.N.self_attn.prefix` `[n, 2 K D]` (keys, then values) with `.self_attn.gate_prefix` `[1, 1]`.
//!
//! Full fine-tuning's tensors are the model's own: `model.layers.N.self_attn.q_proj.weight`.

use std::collections::BTreeMap;

use tunesmith::ops::Scoring;

use super::decoder::Batch;
use super::{Decoder, Function, Matrix, Module, Tape, Var};

/// By name, rows and columns in the files' order: heads half-split. A vector is one row.
pub type Tensors = BTreeMap<String, Matrix>;

/// What the tensors' names do not say.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// What LoRA's part counts: alpha / r, alpha / sqrt(r), for AdaLoRA alpha / (init_r + 1e-5).
    pub scale: f64,
    /// AdaLoRA's `orth_reg_weight`.
    pub orthogonality: f64,
    /// Between the two layers of an adapter.
    pub function: Function,
    /// Whether virtual tokens are keys and values rather than embeddings.
    pub prefix: bool,
}

/// One pass over the tape.
struct Pass<'a> {
    model: &'a Decoder,
    method: Method,
    tape: Tape,
    /// The weights and the trained tensors.
    vars: BTreeMap<String, Var>,
}

impl Decoder {
    /// The loss of one segment, which in AdaLoRA's case is not all that is minimized, and the gradient to every tensor.
    pub fn loss_and_gradients(&self, method: Method, tensors: &Tensors, batch: &Batch) -> (f64, Tensors) {
        let mut pass = Pass::new(self, method, tensors);
        let loss = pass.loss(batch);
        let objective = pass.objective(loss);
        let vars: Vec<Var> = tensors.keys().map(|name| pass.vars[name]).collect();
        let one = Matrix { rows: 1, cols: 1, data: vec![1.0] };
        let gradients = pass.tape.gradients(objective, one, &vars);
        (pass.tape.value(loss).data[0], tensors.keys().cloned().zip(gradients).collect())
    }

    /// What is minimized: the loss and AdaLoRA's penalty.
    pub fn objective(&self, method: Method, tensors: &Tensors, batch: &Batch) -> f64 {
        let mut pass = Pass::new(self, method, tensors);
        let loss = pass.loss(batch);
        let objective = pass.objective(loss);
        pass.tape.value(objective).data[0]
    }
}

impl<'a> Pass<'a> {
    fn new(model: &'a Decoder, method: Method, tensors: &Tensors) -> Self {
        let mut tape = Tape::default();
        let mut weights = model.weights();
        weights.extend(tensors.clone());
        let vars = weights.into_iter().map(|(name, value)| (name, tape.leaf(value))).collect();
        Self { model, method, tape, vars }
    }

    /// A trained tensor at a place of the model, if the method has it.
    fn tuned(&self, place: &str, what: &str) -> Option<Var> {
        self.vars.get(&format!("base_model.model.{place}.{what}")).copied()
    }

    /// `x W^T + b` of an encoder's layer.
    fn dense(&mut self, layer: &str, x: Var) -> Var {
        let y = self.tape.times_transposed(x, self.vars[&format!("{layer}.weight")]);
        self.tape.plus(y, self.vars[&format!("{layer}.bias")])
    }

    /// `sigmoid(x g^T + c)`, one number a row, times `y`.
    fn gated(&mut self, (place, gate): (&str, &str), x: Var, y: Var) -> Var {
        let Some(weight) = self.tuned(place, &format!("{gate}.weight")) else { return y };
        let bias = self.tuned(place, &format!("{gate}.bias")).expect("a gate has a bias");
        let open = self.tape.times_transposed(x, weight);
        let open = self.tape.plus(open, bias);
        let open = self.tape.map(open, Function::Sigmoid);
        self.tape.by(y, open)
    }

    fn norm(&mut self, place: &str, x: Var) -> Var {
        let gain = self.tuned(place, "ln_tuning_layers.weight").unwrap_or(self.vars[&format!("{place}.weight")]);
        let y = self.tape.rms_norm(x, gain, self.model.norm_eps);
        self.tuned(place, "bias").map_or(y, |bias| self.tape.plus(y, bias))
    }

    /// The low-rank part of a layer: `scale x A^T B^T`, with AdaLoRA's E between them.
    fn low_rank(&mut self, place: &str, x: Var) -> Option<Var> {
        let either = |what: &str| self.tuned(place, &format!("{what}.weight")).or(self.tuned(place, what));
        let (a, b, e) = (either("lora_A")?, either("lora_B")?, either("lora_E"));
        let a = e.map_or(a, |e| self.tape.by(a, e));
        let low = self.tape.times_transposed(x, a);
        let delta = self.tape.times_transposed(low, b);
        Some(self.tape.scaled(delta, self.method.scale))
    }

    /// DoRA's m / n: n, the norms of the rows of W + scale B A, counts as a constant.
    fn magnitude(&mut self, place: &str) -> Option<Var> {
        let magnitude = self.tuned(place, "lora_magnitude_vector")?;
        let value = |var: Var| self.tape.value(var);
        let part = |what: &str| value(self.tuned(place, what).expect("DoRA has A and B"));
        let product = part("lora_B.weight").times(part("lora_A.weight")).scaled(self.method.scale);
        let weight = value(self.vars[&format!("{place}.weight")]).plus(&product);
        let row = |row| weight.row(row).iter().map(|w| w * w).sum::<f64>().sqrt().recip();
        let inverse = Matrix { rows: 1, cols: weight.rows, data: (0..weight.rows).map(row).collect() };
        let inverse = self.tape.leaf(inverse);
        Some(self.tape.by(magnitude, inverse))
    }

    fn linear(&mut self, layer: usize, module: Module, mut x: Var) -> Var {
        let place = format!("model.layers.{layer}.{}", module.path());
        // IA3's vector stands upright where it multiplies the output, and lies where it multiplies the input.
        let ia3 = self.tuned(&place, "ia3_l");
        let upright = ia3.is_some_and(|vector| self.tape.value(vector).cols == 1);
        if let Some(vector) = ia3.filter(|_| !upright) {
            x = self.tape.by(x, vector);
        }
        let mut y = self.tape.times_transposed(x, self.vars[&format!("{place}.weight")]);
        if let Some(delta) = self.low_rank(&place, x) {
            let delta = self.gated((&format!("model.layers.{layer}.self_attn"), "gate_lora"), x, delta);
            y = self.tape.plus(y, delta);
        }
        if let Some(factor) = self.magnitude(&place) {
            y = self.tape.by(y, factor);
        }
        if let Some(vector) = ia3.filter(|_| upright) {
            let vector = self.tape.transposed(vector);
            y = self.tape.by(y, vector);
        }
        self.tuned(&place, "bias").map_or(y, |bias| self.tape.plus(y, bias))
    }

    /// `o + W_up f(W_down o + b_down) + b_up`.
    fn adapted(&mut self, place: &str, o: Var) -> Var {
        let Some(down) = self.tuned(place, "adapter.down.weight") else { return o };
        let parts = ["adapter.down.bias", "adapter.up.weight", "adapter.up.bias"];
        let [down_bias, up, up_bias] = parts.map(|part| self.tuned(place, part).expect("an adapter has four tensors"));
        let low = self.tape.times_transposed(o, down);
        let low = self.tape.plus(low, down_bias);
        let low = self.tape.map(low, self.method.function);
        let added = self.tape.times_transposed(low, up);
        let added = self.tape.plus(added, up_bias);
        let added = self.gated((place, "gate_adapter"), o, added);
        self.tape.plus(o, added)
    }

    /// Half-split heads to interleaved ones, as the rotation wants them: column 2 j + p is p D/2 + j of its head.
    fn interleaved(&mut self, x: Var) -> Var {
        let (cols, dim) = (self.tape.value(x).cols, self.model.heads.head_dim);
        let column = |column: usize| column / dim * dim + column % 2 * dim / 2 + column % dim / 2;
        self.tape.columns(x, (0..cols).map(column))
    }

    fn rotated(&mut self, x: Var, positions: &[u32]) -> Var {
        let x = self.interleaved(x);
        self.tape.rope(x, positions, self.model.heads.head_dim, self.model.rope_base)
    }

    /// One direction of one layer of an LSTM over the rows of x. The gates' order is i, f, g, o.
    fn lstm(&mut self, layer: &str, x: Var, backwards: bool) -> Var {
        let names = ["weight_ih", "bias_ih", "weight_hh", "bias_hh"];
        let [w_x, b_x, w_h, b_h] = names.map(|name| self.vars[&format!("lstm_head.{name}_{layer}")]);
        let (count, width) = (self.tape.value(x).rows, self.tape.value(w_h).cols);
        let x = self.tape.times_transposed(x, w_x);
        let x = self.tape.plus(x, b_x);
        let x = self.tape.plus(x, b_h);
        let mut h = self.tape.leaf(Matrix::zeros(1, width));
        let mut c = h;
        let mut out: Option<Var> = None;
        for step in 0..count {
            let row = self.tape.rows(x, &[if backwards { count - 1 - step } else { step }]);
            let again = self.tape.times_transposed(h, w_h);
            let gates = self.tape.plus(row, again);
            let mut gate = |index: usize, function| {
                let gate = self.tape.columns(gates, index * width..(index + 1) * width);
                self.tape.map(gate, function)
            };
            let [i, f, o] = [0, 1, 3].map(|index| gate(index, Function::Sigmoid));
            let g = gate(2, Function::Tanh);
            let (kept, new) = (self.tape.by(f, c), self.tape.by(i, g));
            c = self.tape.plus(kept, new);
            let squashed = self.tape.map(c, Function::Tanh);
            h = self.tape.by(o, squashed);
            out = Some(match out {
                None => h,
                Some(rows) if backwards => self.tape.above(h, rows),
                Some(rows) => self.tape.above(rows, h),
            });
        }
        out.expect("there are virtual tokens")
    }

    /// The virtual tokens as PEFT saves them, or what an encoder makes.
    fn virtual_tokens(&mut self) -> Option<Var> {
        if let Some(&saved) = self.vars.get("prompt_embeddings") {
            return Some(saved);
        }
        let mut x = *self.vars.get("embedding.weight")?;
        for layer in 0.. {
            if !self.vars.contains_key(&format!("lstm_head.weight_ih_l{layer}")) {
                break;
            }
            let forward = self.lstm(&format!("l{layer}"), x, false);
            let backward = self.lstm(&format!("l{layer}_reverse"), x, true);
            x = self.tape.beside(forward, backward);
        }
        let (head, function) =
            if self.method.prefix { ("transform", Function::Tanh) } else { ("mlp_head", Function::Relu) };
        // Every second part is a linear layer, and a function lies between two.
        for part in (0..).step_by(2) {
            let layer = format!("{head}.{part}");
            if !self.vars.contains_key(&format!("{layer}.weight")) {
                break;
            }
            if part > 0 {
                x = self.tape.map(x, function);
            }
            x = self.dense(&layer, x);
        }
        Some(x)
    }

    /// The keys and values that stand before a layer's own, of all virtual tokens.
    fn prefix(&mut self, layer: usize, virtual_tokens: Option<Var>) -> Option<[Var; 2]> {
        let width = self.model.heads.kv_heads * self.model.heads.head_dim;
        let place = format!("model.layers.{layer}.self_attn");
        let (rows, first) = match self.tuned(&place, "prefix") {
            Some(rows) => (rows, 0),
            None => (virtual_tokens?, layer * 2 * width),
        };
        let [mut k, mut v] = [first, first + width].map(|first| self.tape.columns(rows, first..first + width));
        if let Some(gate) = self.tuned(&place, "gate_prefix") {
            let open = self.tape.map(gate, Function::Sigmoid);
            [k, v] = [k, v].map(|part| self.tape.by(part, open));
        }
        Some([self.interleaved(k), v])
    }

    /// The weighted sum of the targets' losses. What precedes the keys of a segment also precedes its positions.
    fn loss(&mut self, batch: &Batch) -> Var {
        let virtual_tokens = self.virtual_tokens();
        let (prompt, prefix) = if self.method.prefix { (None, virtual_tokens) } else { (virtual_tokens, None) };
        let embedding = self.vars["model.embed_tokens.weight"];
        let table = prompt.map_or(embedding, |prompt| self.tape.above(embedding, prompt));
        let ids: Vec<usize> = batch.ids.iter().map(|&id| id as usize).collect();
        let mut h = self.tape.rows(table, &ids);
        let layers = (0..).take_while(|n| self.vars.contains_key(&format!("model.layers.{n}.input_layernorm.weight")));
        for n in layers.collect::<Vec<_>>() {
            let layer = format!("model.layers.{n}");
            let before = self.prefix(n, prefix);
            let shift = before.map_or(0, |[k, _]| self.tape.value(k).rows);
            let positions: Vec<u32> = batch.positions.iter().map(|position| position + shift as u32).collect();
            assert!(shift == 0 || batch.seen.iter().all(|keys| keys.start == 0), "a prefix precedes one segment");
            let seen: Vec<_> = batch.seen.iter().map(|keys| keys.start..keys.end + shift).collect();
            let x = self.norm(&format!("{layer}.input_layernorm"), h);
            let [q, k] = [Module::QProj, Module::KProj].map(|module| {
                let y = self.linear(n, module, x);
                self.rotated(y, &positions)
            });
            let v = self.linear(n, Module::VProj, x);
            let [k, v] = before.map_or([k, v], |before| [self.tape.above(before[0], k), self.tape.above(before[1], v)]);
            let attended = self.tape.attention([q, k, v], self.model.heads, Scoring::default(), &seen);
            let o = self.linear(n, Module::OProj, attended);
            let o = self.adapted(&format!("{layer}.self_attn"), o);
            let mid = self.tape.plus(h, o);
            let x = self.norm(&format!("{layer}.post_attention_layernorm"), mid);
            let [gate, up] = [Module::GateProj, Module::UpProj].map(|module| self.linear(n, module, x));
            let act = self.tape.swiglu(gate, up);
            let o = self.linear(n, Module::DownProj, act);
            let o = self.adapted(&format!("{layer}.mlp"), o);
            h = self.tape.plus(mid, o);
        }
        let last = self.norm("model.norm", h);
        let logits = self.tape.times_transposed(last, embedding);
        self.tape.cross_entropy(logits, &batch.targets)
    }

    /// The loss and the weighted mean of |A A^T - I| and |B^T B - I| over all A and B of AdaLoRA.
    fn objective(&mut self, loss: Var) -> Var {
        if self.method.orthogonality == 0.0 {
            return loss;
        }
        let named = |end| self.vars.iter().filter(move |(name, _)| name.ends_with(end)).map(|(_, &var)| var);
        let (a, b): (Vec<Var>, Vec<Var>) = (named("lora_A").collect(), named("lora_B").collect());
        let share = self.method.orthogonality / (a.len() + b.len()) as f64;
        let b: Vec<Var> = b.into_iter().map(|b| self.tape.transposed(b)).collect();
        a.into_iter().chain(b).fold(loss, |sum, rows| {
            let square = self.tape.times_transposed(rows, rows);
            let count = self.tape.value(square).rows;
            let mut minus_one = Matrix::zeros(count, count);
            (0..count).for_each(|i| minus_one.row_mut(i)[i] = -1.0);
            let minus_one = self.tape.leaf(minus_one);
            let off = self.tape.plus(square, minus_one);
            let norm = self.tape.norm(off);
            let norm = self.tape.scaled(norm, share);
            self.tape.plus(sum, norm)
        })
    }
}
