//! BitFit: biases alone are trained (Ben Zaken et al. 2021, arXiv:2106.10199). Llama has none, so every linear layer and
//! norm is given one of zeros.

use serde_json::{Map, Value};

use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Architecture, Hooks, Model, Module, Norm, Site};
use crate::ops::Weight;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// Biases: of each block's linear layers in turn, then of the norms.
pub struct BitFit {
    params: Parameters,
    architecture: &'static Architecture,
    layers: usize,
}

impl Tuning for BitFit {
    const PEFT_TYPE: &'static str = "BITFIT";
    const IN_PEFT: bool = false;
    const FIELDS: &'static [&'static str] = &[];

    /// Zeros, which change nothing.
    async fn create(model: &Model, run: &RunConfig) -> Result<Self> {
        let config = &model.config;
        let bias = |path: String, count| Spec::zeros(format!("base_model.model.{path}.bias"), &[count]);
        let linear = |layer: usize, module: Module| {
            let (rows, _) = config.shape(module);
            Spec { order: config.order(module), ..bias(Site::path(layer, module), rows) }
        };
        let modules = config.architecture.modules();
        let linear = &linear;
        let linears = (0..config.layers).flat_map(|layer| modules.clone().map(move |module| linear(layer, module)));
        let norms = config
            .architecture
            .norms(config.layers)
            .map(|norm| bias(config.architecture.norm_path(norm), config.hidden));
        let params = super::score::parameters(model, run, linears.chain(norms).collect())?;
        Ok(Self { params, architecture: config.architecture, layers: config.layers })
    }
}

impl AdapterFile for BitFit {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([("peft_type".into(), Self::PEFT_TYPE.into())])
    }
}

impl Hooks for BitFit {
    fn linears(&self, t: &mut Tape, site: Site, x: Var, weights: &[Weight], residual: Option<Var>) -> Var {
        let mut y = t.linears(x, weights, None, residual);
        let mut first = 0;
        for module in self.architecture.group(site.group) {
            let bias = &self.params.tensors[site.layer * self.architecture.linears.len() + module.index()].weight;
            y = t.bias(y, first, bias);
            first += bias.cols;
        }
        y
    }

    fn norm(&self, t: &mut Tape, norm: Norm, x: Var, gain: &Weight, eps: f32) -> Var {
        let y = t.rms_norm(x, gain, eps);
        let index = self.layers * self.architecture.linears.len() + self.architecture.norm_index(norm, self.layers);
        t.bias(y, 0, &self.params.tensors[index].weight)
    }
}

impl Mergeable for BitFit {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("it learns biases, and the model has none that they could be added to")
    }
}

impl Training for BitFit {}
