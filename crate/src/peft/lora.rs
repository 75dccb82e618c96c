//! LoRA: `y = W x + s B A x` with A `[r, in]`, B `[out, r]` (Hu et al. 2021, arXiv:2106.09685).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameters::{Place, Spec};
use super::saved::Saved;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::gpu::Buffer;
use crate::model::{Group, Hooks, Linears, Model, Module, Norm, Site};
use crate::ops::{Direction, LowRank, Weight};
use crate::settings::config::RunConfig;
use crate::settings::field::FieldValue;
use crate::tape::{Tape, Var};
use crate::{Error, Result};

/// The matrices beside linear layers of one group that share rank and scale: one product makes all of them. Those whose
/// rank or scale is another than the first layer's stand alone.
struct Pairs {
    /// The first A among the parameters.
    first: usize,
    /// Every A, and every B, below each other.
    a: Weight,
    b: Weight,
    rank: usize,
    scale: f32,
    segments: Vec<(usize, bool)>,
    modules: Vec<Module>,
    /// DoRA's magnitudes of the modules, `[out]` each, as places among the parameters.
    magnitudes: Option<usize>,
    /// The scale on the device, of a layer that stands alone.
    factor: Option<Buffer>,
}

/// Low-rank matrices beside some of the linear layers.
pub struct Lora {
    params: Parameters,
    sites: BTreeMap<(usize, Group), Vec<Pairs>>,
    saved: Saved,
    modules: Vec<Module>,
    /// Blocks of the model.
    layers: usize,
    config: RunConfig,
}

impl Tuning for Lora {
    const PEFT_TYPE: &'static str = "LORA";
    const FIELDS: &'static [&'static str] = &[
        "r",
        "lora_alpha",
        "lora_dropout",
        "layers_to_transform",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "use_rslora",
        "use_dora",
    ];

    fn read(file: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let set = |name: &str| file.get(name).filter(|value| !value.is_null());
        // What would change the result and that we do not compute must not pass silently.
        if let Some(bias) = set("bias").filter(|bias| **bias != json!("none")) {
            return Err(format!("bias is {bias}, which is not supported"));
        }
        for name in ["target_parameters", "layer_replication", "exclude_modules"] {
            let empty = |value: &Value| {
                value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
            };
            if set(name).is_some_and(|value| !empty(value)) {
                return Err(format!("{name} is not supported"));
            }
        }
        run.insert("target_modules".into(), set("target_modules").ok_or("target_modules is missing")?.clone());
        Ok(())
    }

    /// Fresh matrices, as PEFT starts them: A uniform within 1/sqrt(in), B zero, so that nothing changes at first.
    ///
    /// # Errors
    /// [`Error::Config`] when `target_modules` or a pattern matches no layer, or a rank is 0; [`Error::Limit`] when the
    /// matrices are too large.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let targets = targets(model, config)?;
        let mut specs = Vec::new();
        let mut placed = Vec::new();
        for layer in 0..model.config.layers {
            for group in Group::ALL {
                let modules =
                    model.config.architecture.group(group).filter(|&module| targets.contains(&(layer, module)));
                for (rank, scale, modules) in alike(config, layer, modules) {
                    if rank == 0 {
                        return Err(Error::Config {
                            field: "rank_pattern".into(),
                            what: format!("{} has rank 0", modules[0].path_in(layer)),
                            help: "give it a rank of at least 1, or leave it out of target_modules".into(),
                        });
                    }
                    placed.push((layer, group, specs.len(), rank, scale, modules.clone()));
                    specs.extend(pair_specs(model, config, layer, &modules, rank));
                }
            }
        }
        let saved = Saved::new(model, &config.modules_to_save, &mut specs)?;
        let context = &model.context;
        let params = super::score::parameters(model, config, specs)?;
        let mut sites: BTreeMap<_, Vec<Pairs>> = BTreeMap::new();
        for (layer, group, first, rank, scale, modules) in placed {
            let segment = |module: Module| (model.config.shape(module).0, modules.contains(&module));
            let site = sites.entry((layer, group)).or_default();
            site.push(Pairs {
                first,
                a: params.stack(first..first + modules.len()),
                b: params.stack(first + modules.len()..first + 2 * modules.len()),
                rank,
                scale,
                segments: model.config.architecture.group(group).map(segment).collect(),
                magnitudes: config.use_dora.then_some(first + 2 * modules.len()),
                factor: if site.is_empty() { None } else { Some(context.buffer_with("scale", &[scale])?) },
                modules,
            });
        }
        let somewhere = |module: &Module| targets.iter().any(|(_, target)| target == module);
        let modules = model.config.architecture.modules().filter(somewhere).collect();
        let lora = Self { params, sites, saved, modules, layers: model.config.layers, config: config.clone() };
        lora.saved.fill(model, &lora.params).await?;
        lora.fill_magnitudes(model).await?;
        Ok(lora)
    }
}

/// Layers of one group with their rank and scale: those that share the first one's, and each of the others. See [`Pairs`].
fn alike(config: &RunConfig, layer: usize, modules: impl Iterator<Item = Module>) -> Vec<(usize, f32, Vec<Module>)> {
    let mut parts: Vec<(usize, f32, Vec<Module>)> = Vec::new();
    for module in modules {
        let path = module.path_in(layer);
        let rank = config.rank_pattern.get(&path).unwrap_or(config.r);
        let alpha = config.alpha_pattern.get(&path).unwrap_or(config.lora_alpha);
        let r = f64::from(rank);
        let scale = (alpha / if config.use_rslora { r.sqrt() } else { r }) as f32;
        match parts.first_mut().filter(|part| (part.0, part.1) == (rank as usize, scale)) {
            Some(part) => part.2.push(module),
            None => parts.push((rank as usize, scale, vec![module])),
        }
    }
    parts
}

/// The tensors beside layers of one group: every A right behind each other, then every B, each a matrix of its own to the
/// kernels; then DoRA's magnitudes.
fn pair_specs(model: &Model, config: &RunConfig, layer: usize, modules: &[Module], rank: usize) -> Vec<Spec> {
    let name = |module: Module, tensor: &str| format!("base_model.model.{}.{tensor}", module.path_in(layer));
    let order = |module: Module| model.config.order(module);
    let mut specs = Vec::new();
    for &module in modules {
        let (_, cols) = model.config.shape(module);
        let name = name(module, "lora_A.weight");
        let place = if module == modules[0] { Place::Apart } else { Place::Behind };
        let bound = 1.0 / (cols as f32).sqrt();
        specs.push(Spec { place, ..Spec::uniform(config.seed, name, &[rank, cols], bound) });
    }
    for &module in modules {
        let (rows, _) = model.config.shape(module);
        let place = if module == modules[0] { Place::Beside } else { Place::Behind };
        let spec = Spec::zeros(name(module, "lora_B.weight"), &[rows, rank]);
        specs.push(Spec { order: order(module), place, ..spec });
    }
    for &module in modules.iter().filter(|_| config.use_dora) {
        let (rows, _) = model.config.shape(module);
        let spec = Spec::new(name(module, "lora_magnitude_vector"), &[rows], vec![1.0; rows]);
        specs.push(Spec { order: order(module), ..spec });
    }
    specs
}

impl Pairs {
    /// `y` with what the one layer of these adds to it.
    fn add(&self, t: &mut Tape, factor: &Buffer, y: Var, x: Var) -> Var {
        let column = self.segments.iter().take_while(|(_, has)| !has).map(|(cols, _)| cols).sum();
        let low = t.linear(x, &self.a);
        let factor = t.leaf(1, 1, factor, None);
        let low = t.scale_rows(low, factor);
        let part = t.linear(low, &self.b);
        t.add_columns(y, column, part)
    }
}

impl Lora {
    /// DoRA starts from the norms of the model's own rows, made as each step makes them: then nothing changes at first.
    async fn fill_magnitudes(&self, model: &Model) -> Result<()> {
        let context = &model.context;
        let sites = self.sites.iter().flat_map(|(&site, parts)| parts.iter().map(move |pairs| (site, pairs)));
        for ((layer, group), pairs) in sites.filter(|(_, pairs)| pairs.magnitudes.is_some()) {
            let weights = &model.layers[layer].linears(group).weights;
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
                let (index, rank) = (norms.len(), pairs.rank);
                let (a, a_row, b) = (&pairs.a, index * rank, &pairs.b);
                let direction = Direction { w, first, rows, a, a_row, b, b_row, rank, scale: pairs.scale };
                norms.push((magnitudes + index, column, t.direction_norms(&direction)));
                b_row += rows;
            }
            column += rows;
        }
        norms
    }
}

impl AdapterFile for Lora {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        // PEFT matches `target_modules` against the ends of paths. Where only some layers are tuned, names alone would
        // reach too far, so the paths stand whole.
        let layers: std::collections::BTreeSet<_> = self.sites.keys().map(|(layer, _)| layer).collect();
        let paths = || {
            let of_site = |(&(layer, _), parts): (&(usize, Group), &Vec<Pairs>)| {
                let modules = parts.iter().flat_map(|pairs| &pairs.modules);
                modules.map(|&module| module.path_in(layer)).collect::<Vec<_>>()
            };
            self.sites.iter().flat_map(of_site)
        };
        let everywhere = paths().count() == layers.len() * self.modules.len();
        let mut config = Map::new();
        config.insert("peft_type".into(), Self::PEFT_TYPE.into());
        config.insert("r".into(), self.config.r.into());
        config.insert("lora_alpha".into(), number(self.config.lora_alpha));
        config.insert("lora_dropout".into(), number(self.config.lora_dropout));
        config.insert("use_rslora".into(), self.config.use_rslora.into());
        config.insert("use_dora".into(), self.config.use_dora.into());
        config.insert("rank_pattern".into(), self.config.rank_pattern.json());
        config.insert("alpha_pattern".into(), self.config.alpha_pattern.json());
        if !self.config.modules_to_save.is_empty() {
            config.insert("modules_to_save".into(), self.config.modules_to_save.json());
        }
        config.insert("bias".into(), "none".into());
        let transposed = self.modules.iter().any(|module| module.is_transposed());
        config.insert("fan_in_fan_out".into(), transposed.into());
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
}

impl Hooks for Lora {
    fn first_layer(&self) -> usize {
        let lowest = self.sites.keys().map(|&(layer, _)| layer).min();
        lowest.into_iter().chain(self.saved.first_layer(self.layers)).min().unwrap_or(0)
    }

    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        let Some(parts) = self.sites.get(&(site.layer, site.group)) else {
            return base.apply(t, x, None, residual);
        };
        let (pairs, dropout) = (&parts[0], self.config.lora_dropout as f32);
        let dropped = match site.counter {
            Some(counter) if dropout > 0.0 => t.dropout(x, dropout, counter, pairs.first as u32),
            _ => x,
        };
        let low = LowRank {
            x: dropped,
            a: &pairs.a,
            b: &pairs.b,
            rank: pairs.rank,
            segments: pairs.segments.clone(),
            scale: pairs.scale,
        };
        let (within, behind) = if self.config.use_dora { (None, residual) } else { (residual, None) };
        let mut y = t.linears(x, &base.weights, Some(&low), within);
        for pairs in parts {
            if let Some(factor) = &pairs.factor {
                y = pairs.add(t, factor, y, dropped);
            }
        }
        let norms: Vec<_> = parts.iter().flat_map(|pairs| self.norms(t, pairs, &base.weights)).collect();
        for (index, first, norms) in norms {
            y = t.magnitude(y, first, &self.params.tensors[index].weight, norms);
        }
        // A magnitude is of a row of the matrix: the bias comes behind it, as in PEFT.
        let y = base.biased(t, y);
        match behind {
            Some(residual) => t.add(residual, y),
            None => y,
        }
    }

    fn embedding<'a>(&'a self, model: &'a Model) -> &'a Weight {
        self.saved.embedding(&self.params).unwrap_or(&model.embedding)
    }

    fn head<'a>(&'a self, model: &'a Model) -> &'a Weight {
        self.saved.head(&self.params).unwrap_or_else(|| model.head())
    }

    fn gain<'a>(&'a self, model: &'a Model, norm: Norm) -> &'a Weight {
        self.saved.gain(&self.params, norm).unwrap_or_else(|| &model.norm(norm).gain)
    }

    fn norm_bias<'a>(&'a self, model: &'a Model, norm: Norm) -> Option<&'a Weight> {
        self.saved.norm_bias(&self.params, norm).or(model.norm(norm).bias.as_ref())
    }

    fn positions<'a>(&'a self, model: &'a Model) -> Option<&'a Weight> {
        self.saved.positions(&self.params).or(model.positions.as_ref())
    }
}

impl Mergeable for Lora {
    fn scales(&self, name: &str) -> Result<bool, &'static str> {
        Ok(!name.contains(".lora_A."))
    }

    fn merges(&self, layer: usize, module: Module) -> Result<bool, &'static str> {
        let parts = self.sites.get(&(layer, module.group));
        Ok(parts.is_some_and(|parts| parts.iter().any(|pairs| pairs.modules.contains(&module))))
    }
}

impl Training for Lora {}

/// The layers that a run tunes: those of `target_modules` in the blocks of `layers_to_transform`.
///
/// # Errors
/// [`Error::Config`] when there are none, or a block or a pattern is none of the model's.
pub(super) fn targets(model: &Model, config: &RunConfig) -> Result<Vec<(usize, Module)>> {
    let (layers, chosen) = (model.config.layers, &config.layers_to_transform);
    if let Some(layer) = chosen.iter().find(|&&layer| layer as usize >= layers) {
        return Err(Error::Config {
            field: "layers_to_transform".into(),
            what: format!("there is no block {layer}: {} has {layers}", model.config.name),
            help: format!("give blocks from 0 to {}", layers - 1),
        });
    }
    let modules = model.config.architecture.modules();
    let all = (0..layers).filter(|&layer| chosen.is_empty() || chosen.contains(&(layer as u32)));
    let all = all.flat_map(|layer| modules.clone().map(move |module| (layer, module)));
    let targets: Vec<_> =
        all.filter(|&(layer, module)| config.target_modules.matches(&module.path_in(layer))).collect();
    if targets.is_empty() {
        return Err(Error::Config {
            field: "target_modules".into(),
            what: format!("no linear layer of {} matches", model.config.name),
            help: format!(
                "use \"all-linear\", or some of {}",
                modules.map(Module::name).collect::<Vec<_>>().join(", ")
            ),
        });
    }
    let paths: Vec<String> = targets.iter().map(|&(layer, module)| module.path_in(layer)).collect();
    let unused = config.rank_pattern.unused(&paths).map(|pattern| ("rank_pattern", pattern));
    let unused = unused.chain(config.alpha_pattern.unused(&paths).map(|pattern| ("alpha_pattern", pattern))).next();
    if let Some((field, pattern)) = unused {
        return Err(Error::Config {
            field: field.into(),
            what: format!("\"{pattern}\" fits no layer that is tuned"),
            help: format!("name layers of target_modules, such as {}, or leave it out", paths[0]),
        });
    }
    Ok(targets)
}

/// A whole number without a decimal point, as PEFT writes its integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
