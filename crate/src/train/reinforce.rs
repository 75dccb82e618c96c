//! A run that learns from answers: what its steps are made of changes with every generation.

use std::rc::Rc;

use super::comparison::Comparison;
use super::event::Event;
use super::rollouts::{Policy, Rollouts};
use super::trainer::{Trainer, has_room, layout, settled};
use crate::Result;
use crate::data::batch::{Asked, Dataset};
use crate::model::Model;
use crate::peft::Peft;
use crate::settings::config::{Rows, RunConfig};

impl Trainer {
    /// Prepares a run of `peft` on answers that the model writes itself, or that were recorded.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    ///
    /// # Panics
    /// For an objective that learns from no such answers.
    pub fn reinforce(model: Rc<Model>, peft: Rc<dyn Peft>, config: &RunConfig, rollouts: Rollouts) -> Result<Self> {
        let config = settled(config, &model)?;
        assert!(config.objective.rows() == Rows::Prompts, "{} writes no answers", config.objective.name());
        let longest = rollouts.longest(&config);
        has_room(&model, peft.as_ref(), longest)?;
        let comparison = Comparison::new(&model, &config, 0)?;
        let asked = comparison.as_ref().map_or(Asked::Targets, Comparison::asked);
        let dataset = Dataset::grouped(Vec::new(), layout(&config, &model, peft.as_ref(), longest), 1, asked);
        let a_generation = config.batches_of_generation() / config.gradient_accumulation_steps as usize;
        let an_epoch = rollouts.an_epoch(&config) * a_generation * config.num_iterations as usize;
        Self::of(model, peft, config, dataset, comparison, an_epoch, Some(rollouts))
    }

    /// Has the answers written, or replayed, that the next steps learn from.
    pub(super) async fn roll_out(&mut self, events: &mut Vec<Event>) -> Result<()> {
        // Steps on their way may still move the model.
        events.extend(self.flush().await?);
        let (model, peft, step) = (self.model.clone(), self.peft.clone(), self.step + 1);
        let (Some(rollouts), Some(comparison)) = (&mut self.rollouts, &mut self.comparison) else { return Ok(()) };
        let policy = Policy { model: &model, peft: peft.as_ref(), config: &self.config };
        let generation = rollouts.next(policy, comparison, step).await?;
        self.unsaid = generation.metrics;
        events.extend(generation.events);
        self.take_rollouts();
        self.num_tokens += self.dataset.examples().iter().map(|example| example.ids.len() as u64).sum::<u64>();
        self.queue = self.batches_of(&self.dataset, self.epoch).into();
        self.epoch += 1;
        Ok(())
    }

    /// Makes the current answers the data set.
    pub(super) fn take_rollouts(&mut self) {
        if let Some(rollouts) = &self.rollouts {
            self.dataset = self.dataset.with(rollouts.rendered());
        }
    }
}
