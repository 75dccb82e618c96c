//! LoRA: `y = W x + s B A x` with A `[r, in]`, B `[out, r]` (Hu et al. 2021, arXiv:2106.09685).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::{Parameters, Peft, Site, random};
use crate::model::{Model, Module, Weight};
use crate::tape::{Tape, Var};
use crate::train::config::RunConfig;
use crate::{Error, Result};

/// Low-rank matrices beside some of the linear layers.
pub struct Lora {
    params: Parameters,
    /// Index of `lora_A` in the parameters; `lora_B` follows it.
    sites: BTreeMap<(usize, Module), usize>,
    modules: Vec<Module>,
    /// Blocks of the model.
    layers: usize,
    r: usize,
    alpha: f64,
    dropout: f64,
    use_rslora: bool,
}

impl Lora {
    /// Fresh matrices, as PEFT starts them: A uniform within 1/sqrt(in), B zero, so that nothing changes at first.
    ///
    /// # Errors
    /// [`Error::Config`] when no layer matches `target_modules`; [`Error::Limit`] when the matrices are too large.
    pub fn new(model: &Model, config: &RunConfig) -> Result<Self> {
        let r = config.r as usize;
        let mut specs = Vec::new();
        let mut sites = BTreeMap::new();
        for layer in 0..model.config.layers {
            for module in Module::ALL {
                let path = Site::path(layer, module);
                if !config.target_modules.matches(&path) {
                    continue;
                }
                let (rows, cols) = module.shape(&model.config);
                sites.insert((layer, module), specs.len());
                let name = |matrix: &str| format!("base_model.model.{path}.{matrix}.weight");
                let bound = 1.0 / (cols as f32).sqrt();
                let a = random(config.seed, &name("lora_A")).map(|x| x * bound).take(r * cols).collect();
                let rope_dim = matches!(module, Module::QProj | Module::KProj).then_some(model.config.head_dim);
                specs.push(Spec { name: name("lora_A"), shape: (r, cols), rope_dim: None, values: a });
                specs.push(Spec { name: name("lora_B"), shape: (rows, r), rope_dim, values: vec![0.0; rows * r] });
            }
        }
        if specs.is_empty() {
            return Err(Error::Config {
                field: "target_modules".into(),
                what: format!("no linear layer of {} matches", model.config.name),
                help: format!("use \"all-linear\", or some of {}", Module::ALL.map(Module::name).join(", ")),
            });
        }
        let modules = Module::ALL.into_iter().filter(|module| sites.keys().any(|(_, other)| other == module)).collect();
        let params = Parameters::new(&model.context, specs)?;
        let (alpha, dropout) = (config.lora_alpha, config.lora_dropout);
        let layers = model.config.layers;
        Ok(Self { params, sites, modules, layers, r, alpha, dropout, use_rslora: config.use_rslora })
    }

    fn scale(&self) -> f32 {
        let r = self.r as f64;
        (self.alpha / if self.use_rslora { r.sqrt() } else { r }) as f32
    }
}

impl Peft for Lora {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        // PEFT matches `target_modules` against the ends of paths. Where only some layers are tuned, names alone would
        // reach too far, so the paths stand whole.
        let layers: std::collections::BTreeSet<_> = self.sites.keys().map(|(layer, _)| layer).collect();
        let everywhere = self.sites.len() == layers.len() * self.modules.len();
        let mut config = Map::new();
        config.insert("peft_type".into(), "LORA".into());
        config.insert("r".into(), self.r.into());
        config.insert("lora_alpha".into(), number(self.alpha));
        config.insert("lora_dropout".into(), number(self.dropout));
        config.insert("use_rslora".into(), self.use_rslora.into());
        config.insert("bias".into(), "none".into());
        config.insert("fan_in_fan_out".into(), false.into());
        config.insert("init_lora_weights".into(), true.into());
        let names: Vec<String> = if everywhere {
            self.modules.iter().map(|module| module.name().to_owned()).collect()
        } else {
            self.sites.keys().map(|&(layer, module)| Site::path(layer, module)).collect()
        };
        config.insert("target_modules".into(), json!(names));
        if everywhere && layers.len() < self.layers {
            config.insert("layers_to_transform".into(), json!(layers));
        }
        config
    }

    fn linear(&self, t: &mut Tape, site: Site, x: Var, w: &Weight) -> Var {
        let y = t.linear(x, w);
        if let Some(&index) = self.sites.get(&(site.layer, site.module)) {
            let x = match site.counter {
                Some(counter) if self.dropout > 0.0 => t.dropout(x, self.dropout as f32, counter, index as u32),
                _ => x,
            };
            let low = t.linear(x, &self.params.tensors[index].weight);
            t.linear_onto(y, low, &self.params.tensors[index + 1].weight, self.scale());
        }
        y
    }
}

/// A whole number without a decimal point, as PEFT writes its integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
