//! LoRA: `y = W x + s B A x` with A `[r, in]`, B `[out, r]` (Hu et al. 2021, arXiv:2106.09685).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameters::{Order, Place, Spec};
use super::{Parameters, Peft, Site, Tuning, random};
use crate::model::{Group, Model, Module, Weight};
use crate::ops::{Direction, LowRank};
use crate::tape::{Tape, Var};
use crate::train::config::RunConfig;
use crate::{Error, Result};

/// The matrices beside the linear layers of one group.
struct Pairs {
    /// Tells this place from others, for dropout.
    site: u32,
    /// Every A, and every B, below each other.
    a: Weight,
    b: Weight,
    segments: Vec<(usize, bool)>,
    modules: Vec<Module>,
    /// DoRA's magnitudes of the modules, `[out]` each, as places among the parameters.
    magnitudes: Option<usize>,
}

/// Low-rank matrices beside some of the linear layers.
pub struct Lora {
    params: Parameters,
    sites: BTreeMap<(usize, Group), Pairs>,
    modules: Vec<Module>,
    /// Blocks of the model.
    layers: usize,
    r: usize,
    alpha: f64,
    dropout: f64,
    use_rslora: bool,
}

impl Tuning for Lora {
    const PEFT_TYPE: &'static str = "LORA";
    const FIELDS: &'static [&'static str] = &["r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"];

    fn read(file: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let set = |name: &str| file.get(name).filter(|value| !value.is_null());
        // What would change the result and that we do not compute must not pass silently.
        for (name, plain) in [("bias", json!("none")), ("fan_in_fan_out", json!(false))] {
            if set(name).is_some_and(|value| *value != plain) {
                return Err(format!("{name} is {}, which is not supported", file[name]));
            }
        }
        for name in [
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "target_parameters",
            "layer_replication",
            "exclude_modules",
        ] {
            let empty = |value: &Value| {
                value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
            };
            if set(name).is_some_and(|value| !empty(value)) {
                return Err(format!("{name} is not supported"));
            }
        }
        let modules = set("target_modules").ok_or("target_modules is missing")?;
        run.insert("target_modules".into(), narrowed(modules, set("layers_to_transform")));
        Ok(())
    }

    /// Fresh matrices, as PEFT starts them: A uniform within 1/sqrt(in), B zero, so that nothing changes at first.
    ///
    /// # Errors
    /// [`Error::Config`] when no layer matches `target_modules`; [`Error::Limit`] when the matrices are too large.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let r = config.r as usize;
        let mut specs = Vec::new();
        let mut placed = Vec::new();
        for layer in 0..model.config.layers {
            for group in Group::ALL {
                let targeted = |module: &Module| config.target_modules.matches(&Site::path(layer, *module));
                let modules: Vec<Module> = group.modules().iter().copied().filter(targeted).collect();
                if modules.is_empty() {
                    continue;
                }
                placed.push((layer, group, specs.len(), modules.clone()));
                let name = |module, matrix| format!("base_model.model.{}.{matrix}.weight", Site::path(layer, module));
                // All A of the group right behind each other, then all B: each a matrix of its own to the kernels.
                for &module in &modules {
                    let (_, cols) = module.shape(&model.config);
                    let name = name(module, "lora_A");
                    let place = if module == modules[0] { Place::Apart } else { Place::Behind };
                    let bound = 1.0 / (cols as f32).sqrt();
                    let values = random(config.seed, &name).map(|x| x * bound).take(r * cols).collect();
                    specs.push(Spec { place, ..Spec::new(name, &[r, cols], values) });
                }
                for &module in &modules {
                    let (rows, _) = module.shape(&model.config);
                    let place = if module == modules[0] { Place::Beside } else { Place::Behind };
                    let turned = matches!(module, Module::QProj | Module::KProj);
                    let order = turned.then(|| Order::rope_rows(rows, model.config.head_dim));
                    let spec = Spec::new(name(module, "lora_B"), &[rows, r], vec![0.0; rows * r]);
                    specs.push(Spec { order, place, ..spec });
                }
                for &module in modules.iter().filter(|_| config.use_dora) {
                    let (rows, _) = module.shape(&model.config);
                    let name = format!("base_model.model.{}.lora_magnitude_vector", Site::path(layer, module));
                    let turned = matches!(module, Module::QProj | Module::KProj);
                    let order = turned.then(|| Order::rope_rows(rows, model.config.head_dim));
                    specs.push(Spec { order, ..Spec::new(name, &[rows], vec![1.0; rows]) });
                }
            }
        }
        if specs.is_empty() {
            return Err(nothing_matches(model));
        }
        let params = Parameters::new(&model.context, specs)?;
        let mut sites = BTreeMap::new();
        for (layer, group, first, modules) in placed {
            let segment = |&module: &Module| (module.shape(&model.config).0, modules.contains(&module));
            let pairs = Pairs {
                site: first as u32,
                a: params.stack(first..first + modules.len()),
                b: params.stack(first + modules.len()..first + 2 * modules.len()),
                segments: group.modules().iter().map(segment).collect(),
                magnitudes: config.use_dora.then_some(first + 2 * modules.len()),
                modules,
            };
            sites.insert((layer, group), pairs);
        }
        let somewhere = |module: &Module| sites.values().any(|pairs| pairs.modules.contains(module));
        let modules = Module::ALL.into_iter().filter(somewhere).collect();
        let (alpha, dropout) = (config.lora_alpha, config.lora_dropout);
        let layers = model.config.layers;
        let lora = Self { params, sites, modules, layers, r, alpha, dropout, use_rslora: config.use_rslora };
        if config.use_dora {
            lora.fill_magnitudes(model).await?;
        }
        Ok(lora)
    }
}

impl Lora {
    /// DoRA starts from the norms of the model's own rows, made as each step makes them: then nothing changes at first.
    async fn fill_magnitudes(&self, model: &Model) -> Result<()> {
        let context = &model.context;
        for (&(layer, group), pairs) in &self.sites {
            let weights = model.layers[layer].linears(group);
            let mut t = Tape::new(context);
            let norms = self.norms(&mut t, pairs, weights);
            let mut kept = Vec::new();
            for (index, _, norms) in norms {
                let count = t.count(norms);
                let out = context.buffer("magnitudes", count as u64 * 4)?;
                t.keep(norms, &out);
                kept.push((index, out, count));
            }
            t.finish(context)?.run(0);
            for (index, out, count) in kept {
                let values: Vec<f32> = context.read(&out, 0, count).await?;
                let order = &self.params.tensors[index].order;
                let values = order.as_ref().map_or_else(|| values.clone(), |order| order.turn(&values, false));
                self.params.write(index, &values);
            }
        }
        context.flush();
        Ok(())
    }

    /// For each module of a site with magnitudes: those as a place among the parameters, the module's first column among
    /// the results, and the norms of its rows `[1, out]`.
    fn norms(&self, t: &mut Tape, pairs: &Pairs, weights: &[Weight]) -> Vec<(usize, usize, Var)> {
        let Some(magnitudes) = pairs.magnitudes else { return Vec::new() };
        let (mut column, mut b_row) = (0, 0);
        let mut norms = Vec::new();
        for &(rows, has) in &pairs.segments {
            if has {
                // The weight that holds the module's rows: all of them, or its own.
                let mut first = column;
                let w = weights.iter().find(|w| {
                    first < w.rows || {
                        first -= w.rows;
                        false
                    }
                });
                let w = w.expect("the segments cover the weights");
                let (index, rank) = (norms.len(), self.r);
                let (a, a_row, b) = (&pairs.a, index * rank, &pairs.b);
                let direction = Direction { w, first, rows, a, a_row, b, b_row, rank, scale: self.scale() };
                norms.push((magnitudes + index, column, t.direction_norms(&direction)));
                b_row += rows;
            }
            column += rows;
        }
        norms
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
        let paths = || {
            let of_site = |(&(layer, _), pairs): (&(usize, Group), &Pairs)| {
                pairs.modules.iter().map(|&module| Site::path(layer, module)).collect::<Vec<_>>()
            };
            self.sites.iter().flat_map(of_site)
        };
        let everywhere = paths().count() == layers.len() * self.modules.len();
        let mut config = Map::new();
        config.insert("peft_type".into(), Self::PEFT_TYPE.into());
        config.insert("r".into(), self.r.into());
        config.insert("lora_alpha".into(), number(self.alpha));
        config.insert("lora_dropout".into(), number(self.dropout));
        config.insert("use_rslora".into(), self.use_rslora.into());
        config.insert("use_dora".into(), self.sites.values().any(|pairs| pairs.magnitudes.is_some()).into());
        config.insert("bias".into(), "none".into());
        config.insert("fan_in_fan_out".into(), false.into());
        config.insert("init_lora_weights".into(), true.into());
        let names: Vec<String> = if everywhere {
            self.modules.iter().map(|module| module.name().to_owned()).collect()
        } else {
            paths().collect()
        };
        config.insert("target_modules".into(), json!(names));
        if everywhere && layers.len() < self.layers {
            config.insert("layers_to_transform".into(), json!(layers));
        }
        config
    }

    fn first_layer(&self) -> usize {
        self.sites.keys().map(|&(layer, _)| layer).min().unwrap_or(0)
    }

    fn linears(&self, t: &mut Tape, site: Site, x: Var, weights: &[Weight], residual: Option<Var>) -> Var {
        let Some(pairs) = self.sites.get(&(site.layer, site.group)) else {
            return t.linears(x, weights, None, residual);
        };
        let dropped = match site.counter {
            Some(counter) if self.dropout > 0.0 => t.dropout(x, self.dropout as f32, counter, pairs.site),
            _ => x,
        };
        let low = LowRank {
            x: dropped,
            a: &pairs.a,
            b: &pairs.b,
            rank: self.r,
            segments: pairs.segments.clone(),
            scale: self.scale(),
        };
        if pairs.magnitudes.is_none() {
            return t.linears(x, weights, Some(&low), residual);
        }
        let mut y = t.linears(x, weights, Some(&low), None);
        for (index, first, norms) in self.norms(t, pairs, weights) {
            y = t.magnitude(y, first, &self.params.tensors[index].weight, norms);
        }
        match residual {
            Some(residual) => t.add(residual, y),
            None => y,
        }
    }
}

/// The error of a `target_modules` that leaves nothing to tune.
pub(super) fn nothing_matches(model: &Model) -> Error {
    Error::Config {
        field: "target_modules".into(),
        what: format!("no linear layer of {} matches", model.config.name),
        help: format!("use \"all-linear\", or some of {}", Module::ALL.map(Module::name).join(", ")),
    }
}

/// A whole number without a decimal point, as PEFT writes its integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// `target_modules` within the layers of `layers_to_transform`, where that is given.
pub(super) fn narrowed(modules: &Value, layers: Option<&Value>) -> Value {
    let layers: Vec<u64> = match layers {
        Some(Value::Array(layers)) => layers.iter().filter_map(Value::as_u64).collect(),
        Some(layer) => layer.as_u64().into_iter().collect(),
        None => Vec::new(),
    };
    let (Value::Array(names), false) = (modules, layers.is_empty()) else { return modules.clone() };
    let either = |words: Vec<String>| words.join("|");
    let layers = either(layers.iter().map(u64::to_string).collect());
    let names = either(names.iter().filter_map(Value::as_str).map(|name| name.replace('.', "\\.")).collect());
    json!(format!("(.*\\.)?layers\\.({layers})\\.(.*\\.)?({names})"))
}
