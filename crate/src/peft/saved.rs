//! PEFT's `modules_to_save`: norms, embeddings and the head, trained whole beside an adapter.

use super::Parameters;
use super::full::copy;
use super::parameters::Spec;
use crate::model::{Architecture, HEAD, Model, Norm};
use crate::ops::Weight;
use crate::{Error, Result};

/// A tensor of the model that can be trained whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Embedding,
    Positions,
    Gain(Norm),
    NormBias(Norm),
    Head,
}

impl Part {
    /// Those of a model, in the order of the forward pass.
    fn all(model: &Model) -> impl Iterator<Item = Self> {
        let of_norm = |norm: Norm| {
            let bias = model.norm(norm).bias.as_ref().map(|_| Self::NormBias(norm));
            std::iter::once(Self::Gain(norm)).chain(bias)
        };
        let positions = model.positions.as_ref().map(|_| Self::Positions);
        let norms = model.config.architecture.norms(model.config.layers).flat_map(of_norm);
        std::iter::once(Self::Embedding).chain(positions).chain(norms).chain([Self::Head])
    }

    /// The Hugging Face path of its module.
    fn path(self, architecture: &Architecture) -> String {
        match self {
            Self::Embedding => architecture.paths.embedding.into(),
            Self::Positions => architecture.positions.table().unwrap_or_default().into(),
            Self::Gain(norm) | Self::NormBias(norm) => architecture.norm_path(norm),
            Self::Head => HEAD.into(),
        }
    }

    /// The model's own.
    fn weight(self, model: &Model) -> Option<&Weight> {
        match self {
            Self::Embedding => Some(&model.embedding),
            Self::Positions => model.positions.as_ref(),
            Self::Gain(norm) => Some(&model.norm(norm).gain),
            Self::NormBias(norm) => model.norm(norm).bias.as_ref(),
            Self::Head => Some(model.head()),
        }
    }
}

/// The ends of the paths, for a message.
fn known(architecture: &Architecture) -> String {
    let end = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let embeddings = std::iter::once(architecture.paths.embedding).chain(architecture.positions.table()).map(end);
    let mut names: Vec<&str> = architecture.norm_names().chain(embeddings).collect();
    names.dedup();
    format!("{} and {HEAD}", names.join(", "))
}

/// Parts of the model, and where they are among the parameters of a method.
pub struct Saved {
    parts: Vec<(Part, usize)>,
}

impl Saved {
    /// The parts whose paths end like one of `names`, as PEFT finds them; their tensors go behind `specs`. A head that is
    /// the embedding becomes one of its own.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is no part's.
    pub fn new(model: &Model, names: &[String], specs: &mut Vec<Spec>) -> Result<Self> {
        let architecture = model.config.architecture;
        let all: Vec<Part> = Part::all(model).collect();
        if let Some(name) = names.iter().find(|name| !all.iter().any(|part| part.path(architecture).ends_with(*name))) {
            return Err(Error::Config {
                field: "modules_to_save".into(),
                what: format!("\"{name}\" is the end of no path of a norm, an embedding or the head"),
                help: format!("give some of {}; linear layers belong into target_modules", known(architecture)),
            });
        }
        let mut parts = Vec::new();
        for part in all {
            let path = part.path(architecture);
            if let Some(weight) = part.weight(model).filter(|_| names.iter().any(|name| path.ends_with(name))) {
                let shape = if weight.rows == 1 { vec![weight.cols] } else { vec![weight.rows, weight.cols] };
                parts.push((part, specs.len()));
                let order = match part {
                    Part::Gain(norm) | Part::NormBias(norm) => model.config.norm_order(norm),
                    _ => None,
                };
                let tensor = if let Part::NormBias(_) = part { "bias" } else { "weight" };
                specs.push(Spec { order, ..Spec::zeros(format!("base_model.model.{path}.{tensor}"), &shape) });
            }
        }
        Ok(Self { parts })
    }

    /// Starts them as the model's own.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn fill(&self, model: &Model, params: &Parameters) -> Result<()> {
        for &(part, index) in &self.parts {
            if let Some(own) = part.weight(model) {
                copy(&model.context, own, 0, &params.tensors[index].weight)?;
            }
        }
        model.context.wait().await
    }

    fn find<'a>(&self, params: &'a Parameters, part: Part) -> Option<&'a Weight> {
        self.parts.iter().find(|(own, _)| *own == part).map(|&(_, index)| &params.tensors[index].weight)
    }

    /// See [`crate::model::Hooks::embedding`].
    pub fn embedding<'a>(&self, params: &'a Parameters) -> Option<&'a Weight> {
        self.find(params, Part::Embedding)
    }

    /// See [`crate::model::Hooks::head`].
    pub fn head<'a>(&self, params: &'a Parameters) -> Option<&'a Weight> {
        self.find(params, Part::Head)
    }

    /// See [`crate::model::Hooks::gain`].
    pub fn gain<'a>(&self, params: &'a Parameters, norm: Norm) -> Option<&'a Weight> {
        self.find(params, Part::Gain(norm))
    }

    /// See [`crate::model::Hooks::norm_bias`].
    pub fn norm_bias<'a>(&self, params: &'a Parameters, norm: Norm) -> Option<&'a Weight> {
        self.find(params, Part::NormBias(norm))
    }

    /// See [`crate::model::Hooks::positions`].
    pub fn positions<'a>(&self, params: &'a Parameters) -> Option<&'a Weight> {
        self.find(params, Part::Positions)
    }

    /// The first block that they change, in a model of so many; none where there are none.
    pub fn first_layer(&self, layers: usize) -> Option<usize> {
        let first = |&(part, _): &(Part, usize)| match part {
            Part::Embedding | Part::Positions => 0,
            Part::Gain(Norm::Block(layer, _)) | Part::NormBias(Norm::Block(layer, _)) => layer,
            Part::Gain(Norm::Last) | Part::NormBias(Norm::Last) | Part::Head => layers,
        };
        self.parts.iter().map(first).min()
    }
}
