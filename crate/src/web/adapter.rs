//! An adapter of a session: that of one of its runs, or one that was read from a file.

use std::rc::Rc;

use serde_json::{Value, json};

use super::form;
use crate::Result;
use crate::model::Model;
use crate::peft::merge::NO_PLACE;
use crate::peft::{Peft, io, strength};
use crate::settings::config::RunConfig;

/// An adapter on the device, under a number that no other of the session has.
pub struct Adapter {
    /// Its number.
    pub id: u32,
    /// The file that it was read from; none for a run's.
    pub file: Option<String>,
    /// The record of the run that trained it, where that is kept.
    pub run: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub made: f64,
    /// The run's settings; of one from a file, what that says of them.
    pub config: RunConfig,
    pub peft: Rc<dyn Peft>,
}

impl Adapter {
    /// The settings of the run that trained it, where that was here.
    pub fn settings(&self) -> Option<&RunConfig> {
        self.file.is_none().then_some(&self.config)
    }

    /// The adapter at this strength; the one that was trained stays as it is.
    pub async fn scaled(&self, model: &Model, scale: f32) -> Result<Rc<dyn Peft>> {
        if scale == 1.0 {
            return Ok(self.peft.clone());
        }
        let files = io::save(self.peft.as_ref(), model, None).await?;
        Ok(strength::load(model, "adapter", &files[0].bytes, &files[1].bytes, scale).await?.into())
    }

    /// As the page takes it; `training` says whether it is the run's that is going.
    pub fn told(&self, model: &Model, training: bool) -> Value {
        let (peft, params) = (self.peft.as_ref(), self.peft.params());
        let scores = params.score().is_some();
        let (layers, modules) = (0..model.config.layers, model.config.architecture.modules());
        let mut merges = layers.flat_map(|layer| modules.clone().map(move |module| peft.merges(layer, module)));
        json!({
            "id": self.id,
            "file": self.file,
            "run": self.run,
            "made": self.made,
            "method": form::chosen(&self.config),
            "training": training,
            "config": self.settings().map(RunConfig::to_json),
            "trainable": params.count(),
            "file_bytes": io::tensor_bytes(peft, &model.context),
            // Its values, and room for their gradients.
            "gpu_bytes": 2 * params.bytes(),
            "why_no_strength": params.tensors.iter().find_map(|tensor| peft.scales(&tensor.name).err()),
            "scores": scores,
            "why_no_merge": if scores { Some(NO_PLACE) } else { merges.find_map(std::result::Result::err) },
        })
    }
}
