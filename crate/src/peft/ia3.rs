//! IA3: factors for keys, values and what goes into the feed-forward's last layer (Liu et al. 2022, arXiv:2205.05638).

use serde_json::{Map, Value, json};

use super::parameters::{Order, Spec};
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Group, Hooks, Model, Module, Site};
use crate::ops::Weight;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// The layers with factors: keys and values have theirs behind, the feed-forward's last layer before it.
const MODULES: [Module; 3] = [Module::KProj, Module::VProj, Module::DownProj];

/// Factors of every block, those of [`MODULES`] in turn.
pub struct Ia3 {
    params: Parameters,
    /// Where keys and values start among the columns of q, k and v.
    first: [usize; 2],
}

impl Tuning for Ia3 {
    const PEFT_TYPE: &'static str = "IA3";
    const FIELDS: &'static [&'static str] = &[];

    /// Ones, which change nothing.
    async fn create(model: &Model, run: &RunConfig) -> Result<Self> {
        let config = &model.config;
        let spec = |layer: usize, module: Module| {
            let (rows, cols) = module.shape(config);
            let shape = if module == Module::DownProj { [1, cols] } else { [rows, 1] };
            let count = shape[0] * shape[1];
            let order = (module == Module::KProj).then(|| Order::rope_rows(rows, config.head_dim));
            let name = format!("base_model.model.{}.ia3_l", Site::path(layer, module));
            Spec { order, ..Spec::new(name, &shape, vec![1.0; count]) }
        };
        let specs = (0..config.layers).flat_map(|layer| MODULES.map(|module| spec(layer, module))).collect();
        let (queries, keys) = (Module::QProj.shape(config).0, Module::KProj.shape(config).0);
        Ok(Self { params: super::score::parameters(model, run, specs)?, first: [queries, queries + keys] })
    }

    fn read(file: &Map<String, Value>, _: &mut Map<String, Value>) -> std::result::Result<(), String> {
        for (field, want) in [("target_modules", &MODULES[..]), ("feedforward_modules", &MODULES[2..])] {
            let names = file.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let mut names: Vec<&str> = names.collect();
            names.sort_unstable();
            let mut want: Vec<&str> = want.iter().map(|module| module.name()).collect();
            want.sort_unstable();
            if names != want {
                return Err(format!("{field} is {names:?}, and only {want:?} are supported"));
            }
        }
        Ok(())
    }
}

impl AdapterFile for Ia3 {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let names = MODULES.map(Module::name);
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("target_modules".into(), json!(names)),
            ("feedforward_modules".into(), json!(&names[2..])),
            ("fan_in_fan_out".into(), json!(false)),
            ("init_ia3_weights".into(), json!(true)),
        ])
    }
}

impl Hooks for Ia3 {
    fn linears(&self, t: &mut Tape, site: Site, x: Var, weights: &[Weight], residual: Option<Var>) -> Var {
        let factors = |module: usize| &self.params.tensors[site.layer * MODULES.len() + module].weight;
        match site.group {
            Group::Qkv => {
                let qkv = t.linears(x, weights, None, residual);
                let qkv = t.scale(qkv, self.first[0], factors(0));
                t.scale(qkv, self.first[1], factors(1))
            }
            Group::Down => {
                let x = t.scale(x, 0, factors(2));
                t.linears(x, weights, None, residual)
            }
            Group::Output | Group::GateUp => t.linears(x, weights, None, residual),
        }
    }
}

impl Mergeable for Ia3 {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, module: Module) -> Result<bool, &'static str> {
        Ok(MODULES.contains(&module))
    }
}

impl Training for Ia3 {}
