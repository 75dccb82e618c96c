//! A run that is going, a step at a time, and kept as it goes.

use super::store::JsStore;
use crate::Result;
use crate::record::Keeper;
use crate::train::{Event, Trainer};

/// A run that is going, and the number of its adapter.
pub struct Run {
    pub adapter: u32,
    pub trainer: Trainer,
    /// Where it is kept, if it is.
    pub keeper: Option<Keeper<JsStore>>,
}

impl Run {
    /// What was on its way.
    async fn flush(&mut self) -> Result<Vec<Event>> {
        let mut events = self.trainer.flush().await?;
        if let Some(keeper) = &mut self.keeper {
            keeper.tell(&mut events).await;
        }
        Ok(events)
    }

    /// The same, and a checkpoint.
    pub async fn keep(&mut self) -> Result<Vec<Event>> {
        let mut events = self.flush().await?;
        if let Some(keeper) = &mut self.keeper {
            keeper.checkpoint(&self.trainer, &mut events).await;
        }
        Ok(events)
    }

    /// One step, or none where the run is to finish here; the last events end with `done`.
    pub async fn advance(&mut self, finish: bool) -> Result<Vec<Event>> {
        let mut events = if finish { Vec::new() } else { self.trainer.step().await? };
        if let Some(keeper) = &mut self.keeper {
            keeper.tell(&mut events).await;
        }
        if finish || self.trainer.is_done() {
            events.extend(self.flush().await?);
            if let Some(keeper) = &mut self.keeper {
                keeper.finish(&mut self.trainer, &mut events).await;
            }
            self.trainer.take_best();
            events.push(self.trainer.done_event(""));
        }
        Ok(events)
    }
}
