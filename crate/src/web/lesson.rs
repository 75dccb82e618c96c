//! What a run of the page learns from: its examples, or prompts that the model answers.

use std::rc::Rc;

use crate::Result;
use crate::data::render::Rendered;
use crate::model::Model;
use crate::peft::Peft;
use crate::settings::config::RunConfig;
use crate::train::{Rollouts, Trainer};

/// What a run learns from.
pub enum Lesson {
    /// Examples, and those that are held out.
    Examples(Vec<Rendered>, Vec<Rendered>),
    /// Prompts, and what answers to them earn.
    Prompts(Box<Rollouts>),
}

impl Lesson {
    /// A run on it.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Trainer::reinforce`].
    pub fn trainer(self, model: Rc<Model>, peft: Rc<dyn Peft>, config: &RunConfig) -> Result<Trainer> {
        match self {
            Self::Examples(given, held_out) => Trainer::new(model, peft, config, given, held_out),
            Self::Prompts(rollouts) => Trainer::reinforce(model, peft, config, *rollouts),
        }
    }
}
