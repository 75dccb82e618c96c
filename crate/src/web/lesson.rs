//! What a run of the page learns from: its examples, or prompts that the model answers.

use std::rc::Rc;

use crate::Result;
use crate::data::render::Rendered;
use crate::model::Model;
use crate::peft::Peft;
use crate::settings::config::RunConfig;
use crate::train::{Question, Rollouts, Trainer};

/// What a run learns from.
pub enum Lesson {
    /// Examples, those that are held out, and what the model is asked along the way.
    Examples(Vec<Rendered>, Vec<Rendered>, Vec<Question>),
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
            Self::Examples(given, held_out, samples) => {
                let mut trainer = Trainer::new(model, peft, config, given, held_out)?;
                trainer.ask_along(samples);
                Ok(trainer)
            }
            Self::Prompts(rollouts) => Trainer::reinforce(model, peft, config, *rollouts),
        }
    }
}
