//! UniPELT: LoRA on q and v, a prefix and an adapter after the feed-forward, each behind a gate (Mao et al. 2021,
//! arXiv:2110.07577). PEFT has none; the file is ours.
//!
//! The paper's gates see the mean of a whole sequence, which a model that predicts each next token must not: here the
//! gates of LoRA and of the adapter see their own row, and the prefix, which all rows share, has one gate a block.

use serde_json::{Map, Value, json};

use super::dense::dense;
use super::parameters::{Place, Spec};
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training, bottleneck};
use crate::Result;
use crate::model::{Architecture, Features, Group, Hooks, Linears, Model, ModelConfig, Module, Order, Site};
use crate::ops::{Activation, LowRank};
use crate::settings::config::{NonLinearity, RunConfig};
use crate::tape::{Tape, Var};

/// The three methods and their gates, of every block.
pub struct UniPelt {
    params: Parameters,
    architecture: &'static Architecture,
    layers: usize,
    r: usize,
    alpha: f64,
    tokens: usize,
    size: usize,
    non_linearity: NonLinearity,
    /// Columns of q, k and v, and whether they have low-rank matrices.
    segments: Vec<(usize, bool)>,
    /// Parameters of a block.
    a_block: usize,
}

/// The layers with low-rank matrices: those that make queries or values.
fn modules(config: &ModelConfig) -> Vec<Module> {
    let tuned = |module: &Module| module.makes(Features::Queries) || module.makes(Features::Values);
    config.architecture.group(Group::Qkv).filter(tuned).collect()
}

/// Where the matrices of a block lie: the first at `first`, the others right behind it.
fn places(first: Place) -> impl Iterator<Item = Place> {
    std::iter::once(first).chain(std::iter::repeat(Place::Behind))
}

fn block(architecture: &Architecture, layer: usize) -> String {
    format!("base_model.model.{}", architecture.block_path(layer))
}

impl Tuning for UniPelt {
    const PEFT_TYPE: &'static str = "UNIPELT";
    const IN_PEFT: bool = false;
    const FIELDS: &'static [&'static str] =
        &["r", "lora_alpha", "num_virtual_tokens", "bottleneck_size", "non_linearity"];

    /// Each method as it starts alone, and gates half open.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let shape = &model.config;
        let (channels, width) = (shape.hidden, shape.kv_heads * shape.head_dim);
        let (r, tokens) = (config.r as usize, config.num_virtual_tokens as usize);
        let size = config.bottleneck_size as usize;
        let uniform = |name: String, dims: &[usize], bound| Spec::uniform(config.seed, name, dims, bound);
        let zeros = |name: String, dims: &[usize]| Spec::zeros(name, dims);
        let bound = 1.0 / (channels as f32).sqrt();
        let modules = modules(shape);
        let mut specs = Vec::new();
        for layer in 0..shape.layers {
            let block = block(shape.architecture, layer);
            // As LoRA lays them out: every A below each other, and then every B.
            let name =
                |module: Module, matrix: &str| format!("base_model.model.{}.{matrix}.weight", module.path_in(layer));
            for (&module, place) in modules.iter().zip(places(Place::Apart)) {
                specs.push(Spec { place, ..uniform(name(module, "lora_A"), &[r, channels], bound) });
            }
            for (&module, place) in modules.iter().zip(places(Place::Beside)) {
                let (rows, _) = shape.shape(module);
                specs.push(Spec { order: shape.order(module), place, ..zeros(name(module, "lora_B"), &[rows, r]) });
            }
            specs.push(zeros(format!("{block}.self_attn.gate_lora.weight"), &[1, channels]));
            specs.push(zeros(format!("{block}.self_attn.gate_lora.bias"), &[1, 1]));
            let order = Some(Order::keys_and_values(true, 1, width, shape.head_rows()));
            let prefix = uniform(format!("{block}.self_attn.prefix"), &[tokens, 2 * width], 0.1);
            specs.push(Spec { order, ..prefix });
            specs.push(zeros(format!("{block}.self_attn.gate_prefix"), &[1, 1]));
            specs.extend(bottleneck::specs(config.seed, &format!("{block}.mlp"), size, channels));
            specs.push(zeros(format!("{block}.mlp.gate_adapter.weight"), &[1, channels]));
            specs.push(zeros(format!("{block}.mlp.gate_adapter.bias"), &[1, 1]));
        }
        let a_block = specs.len() / shape.layers;
        let params = super::score::parameters(model, config, specs)?;
        let segment = |module: Module| (shape.shape(module).0, modules.contains(&module));
        let segments = shape.architecture.group(Group::Qkv).map(segment).collect();
        let (alpha, non_linearity) = (config.lora_alpha, config.non_linearity);
        Ok(Self {
            params,
            architecture: shape.architecture,
            layers: shape.layers,
            r,
            alpha,
            tokens,
            size,
            non_linearity,
            segments,
            a_block,
        })
    }
}

impl UniPelt {
    /// `y`, each row as far as its gate on `x` is open.
    fn gated(&self, t: &mut Tape, gate: &str, x: Var, y: Var) -> Var {
        let open = dense(t, &self.params, gate, x);
        let open = t.activation(open, Activation::Sigmoid);
        t.scale_rows(y, open)
    }
}

impl AdapterFile for UniPelt {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("r".into(), json!(self.r)),
            ("lora_alpha".into(), json!(self.alpha)),
            ("num_virtual_tokens".into(), json!(self.tokens)),
            ("bottleneck_size".into(), json!(self.size)),
            ("non_linearity".into(), json!(self.non_linearity)),
        ])
    }
}

impl Hooks for UniPelt {
    fn virtual_tokens(&self) -> usize {
        self.tokens
    }

    fn prefixes(&self, t: &mut Tape) -> Vec<Var> {
        let prefix = |layer| {
            let prefix =
                t.parameter(self.params.weight(&format!("{}.self_attn.prefix", block(self.architecture, layer))));
            let gate =
                t.parameter(self.params.weight(&format!("{}.self_attn.gate_prefix", block(self.architecture, layer))));
            let open = t.activation(gate, Activation::Sigmoid);
            t.scale_rows(prefix, open)
        };
        (0..self.layers).map(prefix).collect()
    }

    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        match (site.group, residual) {
            (Group::Qkv, None) => {
                // A row's gate may as well open what the low-rank matrices read.
                let read =
                    self.gated(t, &format!("{}.self_attn.gate_lora", block(self.architecture, site.layer)), x, x);
                let first = site.layer * self.a_block;
                let pairs = self.segments.iter().filter(|(_, has)| *has).count();
                let a = self.params.stack(first..first + pairs);
                let b = self.params.stack(first + pairs..first + 2 * pairs);
                let scale = (self.alpha / self.r as f64) as f32;
                let segments = self.segments.clone();
                let low = LowRank { x: read, a: &a, b: &b, rank: self.r, segments, scale };
                base.apply(t, x, Some(&low), None)
            }
            (Group::Down, residual) => {
                let o = base.apply(t, x, None, None);
                let place = format!("{}.mlp", block(self.architecture, site.layer));
                let added = bottleneck::added(t, &self.params, &place, self.non_linearity, o);
                let added = self.gated(t, &format!("{place}.gate_adapter"), o, added);
                let h = residual.map_or(o, |residual| t.add(residual, o));
                t.add(h, added)
            }
            _ => base.apply(t, x, None, residual),
        }
    }
}

impl Mergeable for UniPelt {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Err("its gates decide for each token how much it adds")
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("its gates open for each token anew")
    }
}

impl Training for UniPelt {}
