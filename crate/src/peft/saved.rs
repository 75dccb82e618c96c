//! PEFT's `modules_to_save`: norms, the embedding and the head, trained whole beside an adapter.

use super::Parameters;
use super::full::copy;
use super::parameters::Spec;
use crate::model::{Architecture, Model, Norm};
use crate::ops::Weight;
use crate::{Error, Result};

/// A part of the model that can be trained whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Embedding,
    Norm(Norm),
    Head,
}

impl Part {
    /// The Hugging Face path.
    fn path(self, architecture: &Architecture) -> String {
        match self {
            Self::Embedding => "model.embed_tokens".into(),
            Self::Norm(norm) => architecture.norm_path(norm),
            Self::Head => "lm_head".into(),
        }
    }

    fn weight(self, model: &Model) -> &Weight {
        match self {
            Self::Embedding => &model.embedding,
            Self::Norm(norm) => model.norm_gain(norm),
            Self::Head => model.head(),
        }
    }
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
        let norms = architecture.norms(model.config.layers).map(Part::Norm);
        let all: Vec<Part> = [Part::Embedding].into_iter().chain(norms).chain([Part::Head]).collect();
        if let Some(name) = names.iter().find(|name| !all.iter().any(|part| part.path(architecture).ends_with(*name))) {
            return Err(Error::Config {
                field: "modules_to_save".into(),
                what: format!("\"{name}\" is the end of no path of a norm, the embedding or the head"),
                help: "give some of norm, input_layernorm, post_attention_layernorm, embed_tokens and lm_head; linear \
                       layers belong into target_modules"
                    .into(),
            });
        }
        let mut parts = Vec::new();
        for part in all {
            let path = part.path(architecture);
            if names.iter().any(|name| path.ends_with(name)) {
                let weight = part.weight(model);
                let shape = if weight.rows == 1 { vec![weight.cols] } else { vec![weight.rows, weight.cols] };
                parts.push((part, specs.len()));
                let order = if let Part::Norm(norm) = part { model.config.norm_order(norm) } else { None };
                specs.push(Spec { order, ..Spec::zeros(format!("base_model.model.{path}.weight"), &shape) });
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
            copy(&model.context, part.weight(model), 0, &params.tensors[index].weight)?;
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
        self.find(params, Part::Norm(norm))
    }

    /// The first block that they change, in a model of so many; none where there are none.
    pub fn first_layer(&self, layers: usize) -> Option<usize> {
        let first = |&(part, _): &(Part, usize)| match part {
            Part::Embedding => 0,
            Part::Norm(Norm::Block(layer, _)) => layer,
            Part::Norm(Norm::Last) | Part::Head => layers,
        };
        self.parts.iter().map(first).min()
    }
}
