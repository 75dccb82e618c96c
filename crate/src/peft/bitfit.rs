//! BitFit: biases alone are trained (Ben Zaken et al. 2021, arXiv:2106.10199). A linear layer or norm that has none in the
//! model is given one of zeros.

use serde_json::{Map, Value};

use super::parameters::{Spec, Start};
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Architecture, Hooks, Linears, Model, Module, Norm, Site};
use crate::ops::Weight;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// Biases, in place of the model's: of each block's linear layers in turn, then of the norms.
pub struct BitFit {
    params: Parameters,
    architecture: &'static Architecture,
    layers: usize,
}

impl Tuning for BitFit {
    const PEFT_TYPE: &'static str = "BITFIT";
    const IN_PEFT: bool = false;
    const FIELDS: &'static [&'static str] = &[];

    /// The model's own, or zeros, which change nothing.
    async fn create(model: &Model, run: &RunConfig) -> Result<Self> {
        let config = &model.config;
        let architecture = config.architecture;
        let name = |path: String| format!("base_model.model.{path}.bias");
        let mut specs = Vec::new();
        for layer in 0..config.layers {
            for module in architecture.modules() {
                let name = name(module.path_in(layer));
                let spec = match model.bias(layer, module).await? {
                    Some(bias) => Spec::new(&name, &[bias.len()], bias),
                    None => Spec::zeros(&name, &[config.shape(module).0]),
                };
                specs.push(Spec { order: config.order(module), ..spec });
            }
        }
        for norm in architecture.norms(config.layers) {
            let zeros = Spec::zeros(name(architecture.norm_path(norm)), &[config.norm_width(norm)]);
            let start = match &model.norm(norm).bias {
                Some(bias) => Start::Values(model.rows(bias, &[0]).await?),
                None => Start::Zeros,
            };
            specs.push(Spec { order: config.norm_order(norm), start, ..zeros });
        }
        let params = super::score::parameters(model, run, specs)?;
        Ok(Self { params, architecture, layers: config.layers })
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
    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        let mut y = t.linears(x, &base.weights, None, residual);
        let mut first = 0;
        for module in self.architecture.group(site.group) {
            let bias = &self.params.tensors[site.layer * self.architecture.linears.len() + module.index()].weight;
            y = t.bias(y, first, bias);
            first += bias.cols;
        }
        y
    }

    fn norm_bias<'a>(&'a self, _: &'a Model, norm: Norm) -> Option<&'a Weight> {
        let index = self.layers * self.architecture.linears.len() + self.architecture.norm_index(norm, self.layers);
        Some(&self.params.tensors[index].weight)
    }
}

impl Mergeable for BitFit {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("it learns biases of every layer and norm, and the model has no place for all of them")
    }
}

impl Training for BitFit {}
