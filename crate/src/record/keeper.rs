//! Keeps a run as it goes, and lets it go on where that fails: in a page the storage may be full.

use super::about::About;
use super::keep::Record;
use super::store::Store;
use crate::Result;
use crate::train::{Event, Trainer};

/// Checkpoints that are kept while a run goes: one that is written, and the one before.
const CHECKPOINTS: usize = 2;

/// A run's record whose failures are told, and end nothing.
pub struct Keeper<S> {
    record: Record<S>,
    about: About,
    /// The adapter that the run begins from and compares with: the bytes of its config and of its tensors.
    reference: Option<[Vec<u8>; 2]>,
    /// Steps of the newest checkpoint.
    checkpoint: usize,
    /// Whether the last that was to be written could not be.
    failed: bool,
}

impl<S: Store> Keeper<S> {
    /// Begins the record of a new run; `reference` is the adapter that it begins from and compares with.
    pub async fn begin(
        store: S,
        trainer: &Trainer,
        about: About,
        reference: Option<[Vec<u8>; 2]>,
        events: &mut Vec<Event>,
    ) -> Self {
        let mut keeper = Self { record: Record::new(store), about, reference, checkpoint: 0, failed: false };
        let begun = keeper.write_beginning(trainer).await;
        keeper.outcome(begun, events);
        keeper
    }

    async fn write_beginning(&mut self, trainer: &Trainer) -> Result<()> {
        self.record.begin(trainer, Some(&self.about)).await?;
        match self.reference.clone() {
            Some([config, tensors]) => self.record.write_reference(config, tensors).await,
            None => Ok(()),
        }
    }

    /// Goes on with that of a run which was put where its newest checkpoint is.
    pub async fn resume(record: Record<S>, trainer: &Trainer, about: About, events: &mut Vec<Event>) -> Self {
        let mut keeper = Self { record, about, reference: None, checkpoint: trainer.steps_done(), failed: false };
        let begun = keeper.record.begin(trainer, None).await;
        keeper.outcome(begun, events);
        keeper
    }

    /// What is kept.
    pub fn record(&self) -> &Record<S> {
        &self.record
    }

    /// Whether something was written; where it was not, a warning comes, once until something can be written again.
    fn outcome(&mut self, written: Result<()>, events: &mut Vec<Event>) -> bool {
        let failed = written.is_err();
        if let Err(error) = written
            && !self.failed
        {
            events.push(Event::Warning { code: "not-kept", message: error.to_string() });
        }
        self.failed = failed;
        !failed
    }

    /// Writes what was measured. Where that fails the lines stay in memory, and come with the next checkpoint.
    pub async fn tell(&mut self, events: &mut Vec<Event>) {
        let mut warnings = Vec::new();
        for event in &*events {
            let written = self.record.tell(event).await;
            if !self.failed {
                self.outcome(written, &mut warnings);
            }
        }
        events.append(&mut warnings);
    }

    /// Writes a checkpoint, if there was a step since the last.
    pub async fn checkpoint(&mut self, trainer: &Trainer, events: &mut Vec<Event>) {
        let step = trainer.steps_done();
        if step == self.checkpoint && !self.failed {
            return;
        }
        let mut written = Ok(());
        if self.failed {
            // What could not be written till now comes first.
            written = self.write_beginning(trainer).await;
        }
        if written.is_ok() {
            written = self.record.checkpoint(trainer, CHECKPOINTS).await.map(drop);
        }
        if self.outcome(written, events) {
            self.checkpoint = step;
            events.push(Event::Checkpoint { step, path: String::new() });
        }
    }

    /// Writes the adapter of a run that ended. One that came to its end needs no checkpoint any more; one that was stopped may go on.
    pub async fn finish(&mut self, trainer: &mut Trainer, events: &mut Vec<Event>) {
        if !trainer.is_done() {
            self.checkpoint(trainer, events).await;
        }
        let mut written = Ok(());
        if self.failed {
            written = self.write_beginning(trainer).await;
        }
        if written.is_ok() {
            written = self.record.finish(trainer).await;
        }
        if written.is_ok() && trainer.is_done() {
            written = self.record.remove_checkpoints().await;
        }
        self.outcome(written, events);
    }
}
