//! Layer-norm tuning: the gains of the norms alone are trained (Zhao et al. 2023, arXiv:2312.11420).

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Hooks, Model, Module, Norm};
use crate::ops::Weight;
use crate::settings::config::RunConfig;

/// The ends of the norms' paths.
const TARGETS: [&str; 3] = ["input_layernorm", "post_attention_layernorm", "norm"];

/// The gains of all norms, in the order of the forward pass.
pub struct LnTuning {
    params: Parameters,
    layers: usize,
}

impl Tuning for LnTuning {
    const PEFT_TYPE: &'static str = "LN_TUNING";
    const FIELDS: &'static [&'static str] = &[];

    /// The model's own gains.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let mut specs = Vec::new();
        for norm in Norm::all(model.config.layers) {
            let gain = model.rows(model.norm_gain(norm), &[0]).await?;
            let name = format!("base_model.model.{}.ln_tuning_layers.weight", norm.path());
            specs.push(Spec::new(name, &[gain.len()], gain));
        }
        Ok(Self { params: super::score::parameters(model, config, specs)?, layers: model.config.layers })
    }

    fn read(file: &Map<String, Value>, _: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let targets = file.get("target_modules").and_then(Value::as_array).into_iter().flatten();
        let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
        if targets.len() == TARGETS.len() && TARGETS.iter().all(|target| targets.contains(target)) {
            Ok(())
        } else {
            Err(format!("target_modules is {targets:?}, and only all of {TARGETS:?} are supported"))
        }
    }
}

impl AdapterFile for LnTuning {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([("peft_type".into(), json!(Self::PEFT_TYPE)), ("target_modules".into(), json!(TARGETS))])
    }
}

impl Hooks for LnTuning {
    fn gain<'a>(&'a self, _: &'a Model, norm: Norm) -> &'a Weight {
        &self.params.tensors[norm.index(self.layers)].weight
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
