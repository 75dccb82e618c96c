//! Layer-norm tuning: the gains of the norms alone are trained (Zhao et al. 2023, arXiv:2312.11420).

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Architecture, Hooks, Model, Module, Norm, architectures};
use crate::ops::Weight;
use crate::settings::config::RunConfig;

/// The gains of all norms, in the order of the forward pass.
pub struct LnTuning {
    params: Parameters,
    architecture: &'static Architecture,
    layers: usize,
}

/// The ends of the norms' paths.
fn names(architecture: &Architecture) -> Vec<&'static str> {
    architecture.norms.iter().map(|norm| norm.name()).chain(["norm"]).collect()
}

impl Tuning for LnTuning {
    const PEFT_TYPE: &'static str = "LN_TUNING";
    const FIELDS: &'static [&'static str] = &[];

    /// The model's own gains.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let architecture = model.config.architecture;
        let mut specs = Vec::new();
        for norm in architecture.norms(model.config.layers) {
            let gain = model.rows(model.norm_gain(norm), &[0]).await?;
            let order = model.config.norm_order(norm);
            let gain = order.as_ref().map_or_else(|| gain.clone(), |order| order.turn(&gain, false));
            let name = format!("base_model.model.{}.ln_tuning_layers.weight", architecture.norm_path(norm));
            specs.push(Spec { order, ..Spec::new(name, &[gain.len()], gain) });
        }
        Ok(Self { params: super::score::parameters(model, config, specs)?, architecture, layers: model.config.layers })
    }

    fn read(file: &Map<String, Value>, _: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let targets = file.get("target_modules").and_then(Value::as_array).into_iter().flatten();
        let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
        let all_of = |architecture: &&Architecture| {
            let norms = names(architecture);
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
            ("target_modules".into(), json!(names(self.architecture))),
        ])
    }
}

impl Hooks for LnTuning {
    fn gain<'a>(&'a self, _: &'a Model, norm: Norm) -> &'a Weight {
        &self.params.tensors[self.architecture.norm_index(norm, self.layers)].weight
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
