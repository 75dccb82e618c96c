//! Full fine-tuning: every weight of the model is trained, in f32.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parameters::{Place, Spec};
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::gpu::Context;
use crate::model::{Architecture, Group, HEAD, Hooks, Linears, Model, Module, Norm, Site};
use crate::ops::Weight;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// The linear layers of a group.
struct Trained {
    /// One matrix, the layers below each other.
    weight: Weight,
    /// The biases: the first column of each among the results, and its place among the parameters.
    biases: Vec<(usize, usize)>,
}

/// The whole model a second time.
pub struct Full {
    params: Parameters,
    groups: BTreeMap<(usize, Group), Trained>,
    /// The first gain of a norm among the parameters, and the first bias of one, where they have any.
    gains: usize,
    biases: Option<usize>,
    /// The table of positions among them, where there is one.
    positions: Option<usize>,
    architecture: &'static Architecture,
    layers: usize,
    /// The head, where it is not the embedding.
    head: Option<usize>,
}

/// Rows that are copied at a time.
const ROWS: usize = 4096;

/// Copies `to.rows` rows of a weight in any encoding, from row `first` on, into a trained one.
pub(super) fn copy(context: &Context, from: &Weight, first: usize, to: &Weight) -> Result<()> {
    for start in (0..to.rows).step_by(ROWS) {
        let rows = ROWS.min(to.rows - start);
        let ids: Vec<u32> = (first + start..first + start + rows).map(|row| row as u32).collect();
        let ids = context.buffer_with("rows", &ids)?;
        let mut t = Tape::new(context);
        let values = t.embed(rows, &ids, from, 1.0, None);
        t.copy_into(values, &to.some_rows(start, rows));
        t.finish(context)?.run(0);
    }
    Ok(())
}

impl Tuning for Full {
    const PEFT_TYPE: &'static str = "FULL";
    const IN_PEFT: bool = false;
    const FIELDS: &'static [&'static str] = &[];

    /// The model's own weights, dequantized.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let shape = &model.config;
        let architecture = shape.architecture;
        let zeros = |name: String, dims: &[usize]| Spec::zeros(name, dims);
        let mut specs = vec![zeros(format!("{}.weight", architecture.paths.embedding), &[shape.vocab, shape.hidden])];
        let mut places = Vec::new();
        for layer in 0..shape.layers {
            for group in Group::ALL {
                let first = specs.len();
                for module in architecture.group(group) {
                    let place = if specs.len() == first { Place::Apart } else { Place::Behind };
                    let spec = zeros(format!("{}.weight", module.path_in(layer)), &shape.matrix_shape(module));
                    specs.push(Spec { order: shape.matrix_order(module), place, ..spec });
                }
                let weights = first..specs.len();
                let (mut column, mut biases) = (0, Vec::new());
                for module in architecture.group(group) {
                    let (rows, _) = shape.shape(module);
                    if module.bias {
                        biases.push((column, specs.len()));
                        let spec = zeros(format!("{}.bias", module.path_in(layer)), &[rows]);
                        specs.push(Spec { order: shape.order(module), ..spec });
                    }
                    column += rows;
                }
                places.push((layer, group, weights, biases));
            }
        }
        let of_norms = |what: &str| {
            let spec = |norm| zeros(format!("{}.{what}", architecture.norm_path(norm)), &[shape.norm_width(norm)]);
            let spec = |norm| Spec { order: shape.norm_order(norm), ..spec(norm) };
            architecture.norms(shape.layers).map(spec).collect::<Vec<_>>()
        };
        let gains = specs.len();
        specs.extend(of_norms("weight"));
        let norm_biases = architecture.layer_norm.then_some(specs.len());
        specs.extend(norm_biases.into_iter().flat_map(|_| of_norms("bias")));
        let table = model.positions.as_ref().zip(architecture.positions.table());
        let positions = table.map(|_| specs.len());
        specs.extend(table.map(|(own, path)| zeros(format!("{path}.weight"), &[own.rows, own.cols])));
        let head = model.output.as_ref().map(|_| specs.len());
        specs.extend(head.map(|_| zeros(format!("{HEAD}.weight"), &[shape.vocab, shape.hidden])));
        let params = super::score::parameters(model, config, specs)?;

        let context = &model.context;
        let weight = |index: usize| &params.tensors[index].weight;
        copy(context, &model.embedding, 0, weight(0))?;
        let mut groups = BTreeMap::new();
        for (layer, group, weights, biases) in places {
            let stack = params.stack(weights);
            let mut row = 0;
            for own in &model.layers[layer].linears(group).weights {
                // What the file kept apart, for its encodings differ, lies together here.
                copy(context, own, 0, &stack.some_rows(row, own.rows))?;
                row += own.rows;
            }
            let with_bias = architecture.group(group).filter(|module| module.bias);
            for (module, &(_, index)) in with_bias.zip(&biases) {
                if let Some(bias) = model.bias(layer, module).await? {
                    params.write(index, &bias);
                }
            }
            groups.insert((layer, group), Trained { weight: stack, biases });
            // Plans hold memory until what they run is done.
            context.wait().await?;
        }
        for (index, norm) in architecture.norms(shape.layers).enumerate() {
            let own = model.norm(norm);
            copy(context, &own.gain, 0, weight(gains + index))?;
            if let (Some(first), Some(bias)) = (norm_biases, &own.bias) {
                copy(context, bias, 0, weight(first + index))?;
            }
        }
        for (index, own) in [(positions, &model.positions), (head, &model.output)] {
            if let (Some(index), Some(own)) = (index, own) {
                copy(context, own, 0, weight(index))?;
            }
        }
        context.wait().await?;
        let layers = shape.layers;
        Ok(Self { params, groups, gains, biases: norm_biases, positions, architecture, layers, head })
    }
}

impl AdapterFile for Full {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([("peft_type".into(), json!(Self::PEFT_TYPE))])
    }
}

impl Hooks for Full {
    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        let Trained { weight, biases } = &self.groups[&(site.layer, site.group)];
        let y = t.linears(x, std::slice::from_ref(weight), None, residual);
        let biases = biases.iter().filter(|_| base.bias.is_some());
        biases.fold(y, |y, &(first, index)| t.bias(y, first, &self.params.tensors[index].weight))
    }

    fn embedding<'a>(&'a self, _: &'a Model) -> &'a Weight {
        &self.params.tensors[0].weight
    }

    fn positions<'a>(&'a self, _: &'a Model) -> Option<&'a Weight> {
        self.positions.map(|index| &self.params.tensors[index].weight)
    }

    fn head<'a>(&'a self, _: &'a Model) -> &'a Weight {
        &self.params.tensors[self.head.unwrap_or(0)].weight
    }

    fn gain<'a>(&'a self, _: &'a Model, norm: Norm) -> &'a Weight {
        &self.params.tensors[self.gains + self.architecture.norm_index(norm, self.layers)].weight
    }

    fn norm_bias<'a>(&'a self, _: &'a Model, norm: Norm) -> Option<&'a Weight> {
        let index = self.biases? + self.architecture.norm_index(norm, self.layers);
        Some(&self.params.tensors[index].weight)
    }
}

impl Mergeable for Full {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Ok(true)
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Ok(true)
    }
}

impl Training for Full {}
