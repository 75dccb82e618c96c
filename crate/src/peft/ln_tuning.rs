//! Layer-norm tuning: the norms alone are trained (Zhao et al. 2023, arXiv:2312.11420).

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Architecture, Hooks, Model, Module, Norm, NormWeights, architectures};
use crate::ops::Weight;
use crate::settings::config::RunConfig;

/// The gains of all norms, in the order of the forward pass, and then their biases, where they have any.
pub struct LnTuning {
    params: Parameters,
    architecture: &'static Architecture,
    layers: usize,
}

impl Tuning for LnTuning {
    const PEFT_TYPE: &'static str = "LN_TUNING";
    const FIELDS: &'static [&'static str] = &[];

    /// The model's own gains.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let architecture = model.config.architecture;
        let mut specs = Vec::new();
        for what in if architecture.layer_norm { &["weight", "bias"][..] } else { &["weight"] } {
            for norm in architecture.norms(model.config.layers) {
                let NormWeights { gain, bias } = model.norm(norm);
                let own = bias.as_ref().filter(|_| *what == "bias").unwrap_or(gain);
                let values = model.rows(own, &[0]).await?;
                let order = model.config.norm_order(norm);
                let values = order.as_ref().map_or_else(|| values.clone(), |order| order.turn(&values, false));
                let name = format!("base_model.model.{}.ln_tuning_layers.{what}", architecture.norm_path(norm));
                specs.push(Spec { order, ..Spec::new(name, &[values.len()], values) });
            }
        }
        Ok(Self { params: super::score::parameters(model, config, specs)?, architecture, layers: model.config.layers })
    }

    fn read(file: &Map<String, Value>, _: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let targets = file.get("target_modules").and_then(Value::as_array).into_iter().flatten();
        let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
        let all_of = |architecture: &&Architecture| {
            let norms: Vec<_> = architecture.norm_names().collect();
            targets.len() == norms.len() && norms.iter().all(|norm| targets.contains(norm))
        };
        if architectures::ALL.iter().any(all_of) {
            return Ok(());
        }
        Err(format!("target_modules is {targets:?}, and only all the norms of a model are supported"))
    }
}

impl AdapterFile for LnTuning {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("target_modules".into(), json!(self.architecture.norm_names().collect::<Vec<_>>())),
        ])
    }
}

impl Hooks for LnTuning {
    fn gain<'a>(&'a self, _: &'a Model, norm: Norm) -> &'a Weight {
        &self.params.tensors[self.architecture.norm_index(norm, self.layers)].weight
    }

    fn norm_bias<'a>(&'a self, _: &'a Model, norm: Norm) -> Option<&'a Weight> {
        let gains = self.architecture.norms(self.layers).count();
        let index = gains + self.architecture.norm_index(norm, self.layers);
        self.architecture.layer_norm.then(|| &self.params.tensors[index].weight)
    }
}

impl Mergeable for LnTuning {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Ok(false)
    }
}

impl Training for LnTuning {}
