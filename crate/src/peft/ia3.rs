//! IA3: factors for keys, values and what goes into the feed-forward's last layer (Liu et al. 2022, arXiv:2205.05638).

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Architecture, Features, Group, Hooks, Linears, Model, Module, Site, architectures};
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// Whether a layer has factors: what makes keys or values has its own behind it, the feed-forward's last layer before it.
fn has_factors(module: Module) -> bool {
    module.makes(Features::Keys) || module.makes(Features::Values) || before(module)
}

/// Whether a layer's factors stand before it.
fn before(module: Module) -> bool {
    module.group == Group::Down
}

/// The names of the layers with factors, and of those whose factors stand before them: PEFT's `target_modules` and
/// `feedforward_modules`.
fn names(architecture: &'static Architecture) -> [Vec<&'static str>; 2] {
    let modules = architecture.modules().filter(|&module| has_factors(module));
    let name = |module: Module| module.name();
    [modules.clone().map(name).collect(), modules.filter(|&module| before(module)).map(name).collect()]
}

/// Factors of every block, those of its layers in turn.
pub struct Ia3 {
    params: Parameters,
    architecture: &'static Architecture,
    /// The layers of a block with factors.
    modules: Vec<Module>,
    /// Output features of every layer of a block.
    widths: Vec<usize>,
}

impl Tuning for Ia3 {
    const PEFT_TYPE: &'static str = "IA3";
    const FIELDS: &'static [&'static str] = &[];

    /// Ones, which change nothing.
    async fn create(model: &Model, run: &RunConfig) -> Result<Self> {
        let config = &model.config;
        let architecture = config.architecture;
        let spec = |layer: usize, module: Module| {
            let (rows, cols) = config.shape(module);
            let shape = if before(module) { [1, cols] } else { [rows, 1] };
            let order = if before(module) { None } else { config.order(module) };
            let name = format!("base_model.model.{}.ia3_l", module.path_in(layer));
            Spec { order, ..Spec::new(name, &shape, vec![1.0; shape[0] * shape[1]]) }
        };
        let modules: Vec<Module> = architecture.modules().filter(|&module| has_factors(module)).collect();
        let specs = (0..config.layers).flat_map(|layer| modules.iter().map(move |&module| (layer, module)));
        let specs = specs.map(|(layer, module)| spec(layer, module)).collect();
        let widths = architecture.modules().map(|module| config.shape(module).0).collect();
        Ok(Self { params: super::score::parameters(model, run, specs)?, architecture, modules, widths })
    }

    fn read(file: &Map<String, Value>, _: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let named = |field: &str| {
            let names = file.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let mut names: Vec<&str> = names.collect();
            names.sort_unstable();
            names
        };
        let found = ["target_modules", "feedforward_modules"].map(named);
        let of = |architecture: &'static Architecture| {
            names(architecture).map(|mut names| {
                names.sort_unstable();
                names
            })
        };
        if architectures::ALL.iter().any(|architecture| of(architecture) == found) {
            return Ok(());
        }
        let [targets, feedforward] = found;
        let expected = "and only keys, values and the feed-forward's last layer are supported";
        Err(format!("target_modules is {targets:?} and feedforward_modules is {feedforward:?}, {expected}"))
    }
}

impl AdapterFile for Ia3 {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let [targets, feedforward] = names(self.architecture);
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("target_modules".into(), json!(targets)),
            ("feedforward_modules".into(), json!(feedforward)),
            ("fan_in_fan_out".into(), json!(self.architecture.transposed)),
            ("init_ia3_weights".into(), json!(true)),
        ])
    }
}

impl Ia3 {
    /// `x`, from column `first` on, times the factors of a layer; `x` as it is where the layer has none.
    fn scaled(&self, t: &mut Tape, layer: usize, module: Module, x: Var, first: usize) -> Var {
        match self.modules.iter().position(|&own| own == module) {
            Some(index) => t.scale(x, first, &self.params.tensors[layer * self.modules.len() + index].weight),
            None => x,
        }
    }
}

impl Hooks for Ia3 {
    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        let modules = self.architecture.group(site.group);
        let x = modules
            .clone()
            .filter(|&module| before(module))
            .fold(x, |x, module| self.scaled(t, site.layer, module, x, 0));
        let mut y = base.apply(t, x, None, residual);
        let mut first = 0;
        for module in modules {
            if !before(module) {
                y = self.scaled(t, site.layer, module, y, first);
            }
            first += self.widths[module.index()];
        }
        y
    }
}

impl Mergeable for Ia3 {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, module: Module) -> Result<bool, &'static str> {
        Ok(has_factors(module))
    }
}

impl Training for Ia3 {}
