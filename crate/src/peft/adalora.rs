//! AdaLoRA: `y = W x + s B (E * A x)`, whose ranks go one after another where they matter least (Zhang et al. 2023,
//! arXiv:2303.10512), as PEFT has it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::lora::targets;
use super::parameters::Spec;
use super::tuning::Tuning;
use super::{AdapterFile, AfterStep, Mergeable, Parameters, Training};
use crate::gpu::{Buffer, Context, Plan, Recorder};
use crate::model::random;
use crate::model::{Architecture, Group, Hooks, Linears, Model, Module, Site};
use crate::ops::{Importance, Weight, record_importance, record_mask};
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};
use crate::{Error, Result};

/// A, B and E of one layer lie one after another among the parameters.
const PARTS: [&str; 3] = ["lora_A", "lora_B", "lora_E"];

/// A layer's matrices.
#[derive(Clone, Copy)]
struct Place {
    /// Of its A among the parameters.
    first: usize,
    /// Its ranks: fewer than `init_r` where an adapter was loaded that had lost some.
    rank: usize,
}

/// Low-rank matrices with singular values, and what is known of their importance.
pub struct AdaLora {
    params: Parameters,
    context: Context,
    sites: BTreeMap<(usize, Module), Place>,
    config: RunConfig,
    architecture: &'static Architecture,
    /// Outputs of each kind of layer.
    widths: Vec<usize>,
    /// s, for the tape.
    scale: Buffer,
    /// Where the penalty goes: the loss that is reported is that of the text.
    penalty: Buffer,
    /// Of every parameter: see [`Importance`], and 1 for each singular value that is gone.
    sensitivity: Vec<Buffer>,
    uncertainty: Vec<Buffer>,
    gone: Vec<Buffer>,
    /// Steps of the run.
    steps: Cell<usize>,
    update: RefCell<Option<Plan>>,
    mask: Plan,
}

impl Tuning for AdaLora {
    const PEFT_TYPE: &'static str = "ADALORA";
    const FIELDS: &'static [&'static str] = &[
        "init_r",
        "target_r",
        "total_step",
        "tinit",
        "tfinal",
        "beta1",
        "beta2",
        "orth_reg_weight",
        "lora_alpha",
        "lora_dropout",
        "layers_to_transform",
    ];

    /// A and B as PEFT starts them, small, and E zero, so that nothing changes at first.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let shape = &model.config;
        let mut specs = Vec::new();
        let mut sites = BTreeMap::new();
        for (layer, module) in targets(model, config)? {
            let path = module.path_in(layer);
            let r = config.rank_pattern.get(&path).unwrap_or(config.init_r) as usize;
            if r > config.init_r as usize {
                return Err(Error::Config {
                    field: "rank_pattern".into(),
                    what: format!("{path} has rank {r}, and init_r is {}", config.init_r),
                    help: "set init_r to the largest rank".into(),
                });
            }
            // A layer that lost all its ranks is as the model has it.
            if r == 0 {
                continue;
            }
            sites.insert((layer, module), Place { first: specs.len(), rank: r });
            let (rows, cols) = shape.shape(module);
            let [a, b, e] = PARTS.map(|part| format!("base_model.model.{path}.{part}"));
            // As far from zero as a normal distribution of deviation 0.02.
            let small = |name: &str, count| -> Vec<f32> {
                random(config.seed, name).map(|x| x * 0.02 * f32::sqrt(3.0)).take(count).collect()
            };
            let (a_values, b_values) = (small(&a, r * cols), small(&b, rows * r));
            specs.push(Spec::new(a, &[r, cols], a_values));
            specs.push(Spec { order: shape.order(module), ..Spec::new(b, &[rows, r], b_values) });
            specs.push(Spec::zeros(e, &[r, 1]));
        }
        if specs.is_empty() {
            return Err(Error::Config {
                field: "rank_pattern".into(),
                what: "every layer has rank 0, so there is nothing to learn".into(),
                help: "give some layers a rank of at least 1".into(),
            });
        }
        let context = model.context.clone();
        let params = super::score::parameters(model, config, specs)?;
        let like = |what| params.like(what);
        let (sensitivity, uncertainty) = (like("sensitivity")?, like("uncertainty")?);
        let gone = like("ranks that are gone")?;
        let mut list = Recorder::new(&context);
        record_mask(&mut list, &params.values, &gone);
        let mask = Plan::new(&context, list)?;
        let scale = (config.lora_alpha / (f64::from(config.init_r) + 1e-5)) as f32;
        let scale = context.buffer_with("scale", &[scale])?;
        let penalty = context.buffer("penalty", 4)?;
        let widths = shape.architecture.modules().map(|module| shape.shape(module).0).collect();
        Ok(Self {
            params,
            context,
            sites,
            config: config.clone(),
            architecture: shape.architecture,
            widths,
            scale,
            penalty,
            sensitivity,
            uncertainty,
            gone,
            steps: Cell::new(0),
            update: RefCell::new(None),
            mask,
        })
    }

    fn read(file: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        let set = |name: &str| file.get(name).filter(|value| !value.is_null());
        if let Some(kept) = set("rank_pattern") {
            run.insert("rank_pattern".into(), ranks(kept).ok_or("rank_pattern is not true or false for each rank")?);
        }
        if let Some(steps) = set("deltaT") {
            run.insert("delta_t".into(), steps.clone());
        }
        run.insert("target_modules".into(), set("target_modules").ok_or("target_modules is missing")?.clone());
        Ok(())
    }
}

/// What PEFT's `rank_pattern` calls a layer.
fn rank_key(path: &str) -> String {
    format!("{path}.lora_E")
}

/// PEFT's `rank_pattern` of AdaLoRA says of each of a layer's ranks whether it is left; the tensors hold those alone. A
/// run's counts them.
fn ranks(kept: &Value) -> Option<Value> {
    let of_layer = |(key, kept): (&String, &Value)| {
        let kept: Option<Vec<bool>> = kept.as_array()?.iter().map(Value::as_bool).collect();
        let rank = kept?.into_iter().filter(|&kept| kept).count();
        Some((key.strip_suffix(&rank_key("")).unwrap_or(key).to_owned(), json!(rank)))
    };
    Some(Value::Object(kept.as_object()?.iter().map(of_layer).collect::<Option<_>>()?))
}

impl AdaLora {
    fn weight(&self, first: usize, part: usize) -> &Weight {
        &self.params.tensors[first + part].weight
    }

    /// Ranks that may be left at a step, of all layers together.
    fn budget(&self, step: usize) -> usize {
        let c = &self.config;
        let (layers, steps) = (self.sites.len(), self.steps.get());
        let first: usize = self.sites.values().map(|place| place.rank).sum();
        let last = first.min(c.target_r as usize * layers);
        let (start, end) = (c.tinit as usize, steps - c.tfinal as usize);
        if step <= start {
            return first;
        }
        if step > end {
            return last;
        }
        let left = 1.0 - (step - start) as f64 / (end - start) as f64;
        ((first - last) as f64 * left.powi(3) + last as f64) as usize
    }

    /// Chooses the ranks to keep: those of the largest score.
    async fn choose(&self, step: usize) -> Result<()> {
        let (s, u) = (self.params.read_from(&self.sensitivity).await?, self.params.read_from(&self.uncertainty).await?);
        let importance = |tensor: usize, i: usize| f64::from(s[tensor][i]) * f64::from(u[tensor][i]);
        let mut scores = Vec::new();
        for &Place { first, rank: r } in self.sites.values() {
            let (cols, rows) = (self.weight(first, 0).cols, self.weight(first, 1).rows);
            for rank in 0..r {
                let a = (0..cols).map(|c| importance(first, rank * cols + c)).sum::<f64>() / cols as f64;
                let b = (0..rows).map(|row| importance(first + 1, row * r + rank)).sum::<f64>() / rows as f64;
                scores.push(importance(first + 2, rank) + a + b);
            }
        }
        let mut sorted = scores.clone();
        sorted.sort_by(f64::total_cmp);
        let gone = sorted.len() - self.budget(step);
        // What is no larger than the largest of those that must go goes too, as in PEFT.
        let threshold = if gone > 0 { sorted[gone - 1] } else { f64::NEG_INFINITY };
        let mut scores = scores.as_slice();
        for &Place { first, rank } in self.sites.values() {
            let (scores_of_layer, others) = scores.split_at(rank);
            scores = others;
            let gone: Vec<f32> =
                scores_of_layer.iter().map(|&score| if score > threshold { 0.0 } else { 1.0 }).collect();
            self.params.write_to(&self.gone, first + 2, &gone);
        }
        Ok(())
    }
}

impl AdapterFile for AdaLora {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let c = &self.config;
        let paths: Vec<String> = self.sites.keys().map(|&(layer, module)| module.path_in(layer)).collect();
        let init_r = c.init_r as usize;
        let kept = self.sites.values().map(|place| (0..init_r).map(|rank| rank < place.rank).collect::<Vec<bool>>());
        let kept: Map<_, _> = paths.iter().zip(kept).map(|(path, kept)| (rank_key(path), json!(kept))).collect();
        let some_are_gone = self.sites.values().any(|place| place.rank < init_r);
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("init_r".into(), json!(c.init_r)),
            ("target_r".into(), json!(c.target_r)),
            ("r".into(), json!(c.init_r)),
            (
                "total_step".into(),
                json!(if c.total_step > 0 { c.total_step as usize } else { self.steps.get().max(1) }),
            ),
            ("tinit".into(), json!(c.tinit)),
            ("tfinal".into(), json!(c.tfinal)),
            ("deltaT".into(), json!(c.delta_t)),
            ("beta1".into(), json!(c.beta1)),
            ("beta2".into(), json!(c.beta2)),
            ("orth_reg_weight".into(), json!(c.orth_reg_weight)),
            ("lora_alpha".into(), json!(c.lora_alpha)),
            ("lora_dropout".into(), json!(c.lora_dropout)),
            ("bias".into(), json!("none")),
            ("target_modules".into(), json!(paths)),
            ("rank_pattern".into(), if some_are_gone { kept.into() } else { Value::Null }),
        ])
    }
}

impl Hooks for AdaLora {
    fn first_layer(&self) -> usize {
        self.sites.keys().map(|&(layer, _)| layer).min().unwrap_or(0)
    }

    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        let modules = self.architecture.group(site.group);
        let first = |module: Module| self.sites.get(&(site.layer, module)).map(|place| place.first);
        if modules.clone().all(|module| first(module).is_none()) {
            return base.apply(t, x, None, residual);
        }
        let mut added = base.apply(t, x, None, residual);
        let dropout = self.config.lora_dropout as f32;
        let read = match site.counter {
            Some(counter) if dropout > 0.0 => {
                let place = site.layer * Group::ALL.len() + site.group as usize;
                t.dropout(x, dropout, counter, place as u32)
            }
            _ => x,
        };
        let mut column = 0;
        for module in modules {
            if let Some(first) = first(module) {
                let low = t.linear(read, self.weight(first, 0));
                let low = t.scale(low, 0, self.weight(first, 2));
                let scale = t.leaf(1, 1, &self.scale, None);
                let low = t.scale_rows(low, scale);
                let part = t.linear(low, self.weight(first, 1));
                added = t.add_columns(added, column, part);
            }
            column += self.widths[module.index()];
        }
        added
    }
}

impl Mergeable for AdaLora {
    fn scales(&self, name: &str) -> Result<bool, &'static str> {
        Ok(name.ends_with(PARTS[2]))
    }

    fn merges(&self, layer: usize, module: Module) -> Result<bool, &'static str> {
        Ok(self.sites.contains_key(&(layer, module)))
    }
}

impl Training for AdaLora {
    fn penalty(&self, t: &mut Tape) -> bool {
        let share = (self.config.orth_reg_weight / (2 * self.sites.len()) as f64) as f32;
        if share == 0.0 {
            return false;
        }
        for &Place { first, .. } in self.sites.values() {
            t.orthogonality(self.weight(first, 0), false, share, &self.penalty);
            t.orthogonality(self.weight(first, 1), true, share, &self.penalty);
        }
        true
    }

    fn begin(&self, steps: usize) -> Result<()> {
        let c = &self.config;
        let steps = if c.total_step > 0 { c.total_step as usize } else { steps };
        if (c.tinit + c.tfinal) as usize >= steps {
            return Err(Error::Config {
                field: "tinit".into(),
                what: format!("tinit and tfinal are {} and {}, and there are {steps} steps", c.tinit, c.tfinal),
                help: "leave steps between them for the ranks to go: lower them, or train longer".into(),
            });
        }
        self.steps.set(steps);
        Ok(())
    }

    fn after_step<'a>(&'a self, step: usize, state: &'a Buffer) -> AfterStep<'a> {
        Box::pin(async move {
            let c = &self.config;
            let (start, end) = (c.tinit as usize, self.steps.get() - c.tfinal as usize);
            if step < end {
                let mut update = self.update.borrow_mut();
                if update.is_none() {
                    let mut list = Recorder::new(&self.context);
                    let buffers = Importance {
                        values: &self.params.values,
                        grads: &self.params.grads,
                        sensitivity: &self.sensitivity,
                        uncertainty: &self.uncertainty,
                        betas: [c.beta1 as f32, c.beta2 as f32],
                    };
                    record_importance(&mut list, &buffers, state);
                    *update = Some(Plan::new(&self.context, list)?);
                }
                update.as_ref().expect("just made").run(0);
            }
            let chosen = step == end || (step > start && step < end && step.is_multiple_of(c.delta_t as usize));
            if chosen {
                self.choose(step).await?;
            }
            if chosen || step > end {
                self.mask.run(0);
            }
            Ok(())
        })
    }

    fn state(&self) -> Vec<(&'static str, &[Buffer])> {
        vec![("sensitivity.", &self.sensitivity), ("uncertainty.", &self.uncertainty), ("gone.", &self.gone)]
    }
}
