//! A record as it is written, and read back.

use serde_json::Value;

use super::about::About;
use super::files::{CHECKPOINT, HELD_OUT, METRICS, RECORD, REFERENCE, ROWS, RUN, STATE, checkpoints, lines, pretty};
use super::parts::{Parts, SUMS};
use super::state::trainer_state;
use super::store::Store;
use super::sums::whole;
use crate::peft::io::{self, File};
use crate::peft::stream::StreamedFile;
use crate::settings::config::RunConfig;
use crate::train::{Event, Trainer};
use crate::{Error, Result};

/// A checkpoint as it was read, whole.
pub struct Checkpoint {
    /// Steps done.
    pub step: usize,
    /// Where it lies, for messages.
    pub place: String,
    files: Vec<File>,
}

impl Checkpoint {
    /// Puts a run where this one stopped.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn restore(&self, trainer: &mut Trainer) -> Result<()> {
        let missing = |name: &str| Error::io(format!("{}/{name}", self.place), "there is no such file");
        trainer.resume(&self.place, |name| self.file(name).ok_or_else(|| missing(name)))
    }

    /// The bytes of one of its files.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|file| file.name == name).map(|file| &file.bytes[..])
    }
}

/// The record of one run, in a [`Store`].
pub struct Record<S> {
    store: S,
    /// What `metrics.jsonl` holds.
    lines: Vec<Value>,
    /// Whether it is written to yet.
    begun: bool,
}

impl<S: Store> Record<S> {
    /// That of a run which has not begun.
    pub fn new(store: S) -> Self {
        Self { store, lines: Vec::new(), begun: false }
    }

    /// That of a run which is to go on, with its settings.
    ///
    /// # Errors
    /// When there is no run in it, or it cannot be read.
    pub async fn open(store: S) -> Result<(Self, RunConfig)> {
        let file = format!("{}/{RUN}", store.name());
        let bytes = store.read(RUN).await?.ok_or_else(|| Error::Format {
            file: file.clone(),
            what: "there is no run to resume: there is no such file".into(),
            help: "leave out --resume to begin a run, or give the --out of the run that was stopped".into(),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| Error::io(&file, error))?;
        let config = RunConfig::from_json(&text)?;
        let metrics = store.read(METRICS).await?.unwrap_or_default();
        let lines = lines(&String::from_utf8_lossy(&metrics));
        Ok((Self { store, lines, begun: false }, config))
    }

    /// Where it lies, for messages.
    pub fn place(&self) -> String {
        self.store.name()
    }

    /// What it lies in.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// The same, where nothing more is recorded.
    pub fn into_store(self) -> S {
        self.store
    }

    /// What was recorded, one object a step, an evaluation or a sample.
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// Begins, or goes on after the trainer's steps: writes what is known of the run, and forgets what was measured later, for
    /// that comes again.
    ///
    /// # Errors
    /// When something cannot be written.
    pub async fn begin(&mut self, trainer: &Trainer, about: Option<&About>) -> Result<()> {
        let step = trainer.steps_done();
        self.lines.retain(|line| line["step"].as_u64().is_some_and(|at| at <= step as u64));
        let metrics: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        self.store.write(METRICS, metrics.as_bytes()).await?;
        self.begun = true;
        if let Some(about) = about {
            let about = serde_json::to_value(about).expect("plain values");
            self.store.write(RECORD, pretty(&about).as_bytes()).await?;
        }
        self.store.write(RUN, pretty(&trainer.config().to_json()).as_bytes()).await
    }

    /// Whether nothing of the run is worth keeping yet, and something is there of it.
    pub fn is_empty(&self) -> bool {
        self.begun && self.lines.is_empty()
    }

    /// Keeps an event that measures something, or shows it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn tell(&mut self, event: &Event) -> Result<()> {
        if !matches!(event, Event::Step { .. } | Event::Eval { .. } | Event::Sample { .. }) {
            return Ok(());
        }
        let line = serde_json::to_value(event).expect("plain values");
        let text = format!("{line}\n");
        self.lines.push(line);
        self.store.append(METRICS, text.as_bytes()).await
    }

    /// Writes a checkpoint, removes those that are past the run's limit, and says where the new one lies.
    ///
    /// # Errors
    /// When it cannot be written, or the device failed.
    ///
    /// # Panics
    /// As [`Trainer::checkpoint`].
    pub async fn checkpoint(&mut self, trainer: &Trainer, limit: usize) -> Result<String> {
        let mut files = trainer.checkpoint().await?;
        files.push(self.state(trainer).into());
        let best = trainer.best().filter(|_| trainer.config().load_best_model_at_end);
        let place = self.write_checkpoint(trainer.steps_done(), files).await?;
        self.limit_checkpoints(limit, best.map(|best| best.step)).await?;
        Ok(place)
    }

    async fn write_checkpoint(&mut self, step: usize, files: Vec<StreamedFile<'_>>) -> Result<String> {
        let folder = format!("{CHECKPOINT}{step}");
        self.store.write_folder(&folder, Parts::with_sums(files)).await?;
        Ok(format!("{}/{folder}", self.store.name()))
    }

    fn state(&self, trainer: &Trainer) -> File {
        let state = trainer_state(trainer, &self.lines);
        File { name: STATE, bytes: pretty(&state).into_bytes() }
    }

    /// Removes the oldest checkpoints, so that `limit` are left: the newest, and that of step `best`, stay in any case. 0 is no
    /// limit.
    ///
    /// # Errors
    /// When one cannot be removed.
    async fn limit_checkpoints(&mut self, limit: usize, best: Option<usize>) -> Result<()> {
        let mut found = self.checkpoints().await?;
        let newest = found.pop();
        let kept = found.iter().filter(|step| Some(**step) == best).count() + usize::from(newest.is_some());
        found.retain(|step| Some(*step) != best);
        if limit > 0 {
            let more = limit.saturating_sub(kept);
            found.truncate(found.len().saturating_sub(more));
            for step in found {
                self.store.remove_folder(&format!("{CHECKPOINT}{step}")).await?;
            }
        }
        Ok(())
    }

    /// Removes every checkpoint: a run that came to its end needs none.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub async fn remove_checkpoints(&mut self) -> Result<()> {
        for step in self.checkpoints().await? {
            self.store.remove_folder(&format!("{CHECKPOINT}{step}")).await?;
        }
        Ok(())
    }

    /// The steps of the checkpoints, in order.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn checkpoints(&self) -> Result<Vec<usize>> {
        checkpoints(&self.store).await
    }

    /// The checkpoint with the most steps whose files are as they were written, and what there is to say: what is wrong with newer
    /// ones, and whether this one has no sums.
    ///
    /// # Errors
    /// When there is none, or the record cannot be read.
    pub async fn newest_checkpoint(&self) -> Result<(Checkpoint, Vec<String>)> {
        let need_sums = self.store.read(RECORD).await?.is_some();
        let mut remarks = Vec::new();
        for step in self.checkpoints().await?.into_iter().rev() {
            let folder = format!("{CHECKPOINT}{step}");
            let place = format!("{}/{folder}", self.store.name());
            match whole(&self.store, &folder, need_sums).await? {
                Ok(files) => {
                    if files.iter().all(|file| file.name != SUMS) {
                        remarks.push(format!(
                            "{place} is of an earlier version and has no {SUMS}, so nothing tells whether it is damaged"
                        ));
                    }
                    return Ok((Checkpoint { step, place, files }, remarks));
                }
                Err(what) => remarks.push(format!("{place} is damaged: {what}")),
            }
        }
        Err(Error::Format {
            file: self.store.name(),
            what: match remarks.first() {
                None => "the run in this folder has no checkpoint to resume from".into(),
                Some(what) => format!("the run in this folder has no whole checkpoint to resume from: {what}"),
            },
            help: "begin a new run".into(),
        })
    }

    /// Keeps the rows that the run learns from, and those that are held out: it can go on without the files that they came from.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn write_rows(&mut self, data: &[u8], held_out: Option<&[u8]>) -> Result<()> {
        self.store.write(ROWS, data).await?;
        match held_out {
            Some(held_out) => self.store.write(HELD_OUT, held_out).await,
            None => Ok(()),
        }
    }

    /// The adapter that the run began from and compares with, where there is one: the bytes of its config and of its tensors.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn reference(&self) -> Result<Option<[Vec<u8>; 2]>> {
        let config = self.store.read(&format!("{REFERENCE}/{}", io::CONFIG)).await?;
        let tensors = self.store.read(&format!("{REFERENCE}/{}", io::TENSORS)).await?;
        Ok(config.zip(tensors).map(|(config, tensors)| [config, tensors]))
    }

    /// Keeps the adapter that the run begins from and compares with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_reference(&mut self, config: Vec<u8>, tensors: Vec<u8>) -> Result<()> {
        let file = |name, bytes| File { name, bytes }.into();
        self.store.write_folder(REFERENCE, Parts::new(vec![file(io::TENSORS, tensors), file(io::CONFIG, config)])).await
    }

    /// Writes what a finished run leaves beside its settings and metrics: the adapter, which is the best one where the run kept
    /// that.
    ///
    /// # Errors
    /// When it cannot be written, or the device failed.
    pub async fn finish(&mut self, trainer: &mut Trainer) -> Result<()> {
        let state = self.state(trainer);
        self.store.write(state.name, &state.bytes).await?;
        trainer.take_best();
        let mut files = io::save(trainer.peft().as_ref(), trainer.model(), Some(trainer.config())).await?;
        // Whoever finds the config finds the tensors, too.
        files.sort_by_key(|file| file.name == io::CONFIG);
        for file in &files {
            self.store.write(file.name, &file.bytes).await?;
        }
        Ok(())
    }

    /// The adapter of the run: that of its end, or else of the newest checkpoint that is whole. Gives where it lies, and the bytes
    /// of its config and of its tensors.
    ///
    /// # Errors
    /// When there is none, or the record cannot be read.
    pub async fn adapter(&self) -> Result<(String, [Vec<u8>; 2])> {
        if let (Some(config), Some(tensors)) = (self.store.read(io::CONFIG).await?, self.store.read(io::TENSORS).await?)
        {
            return Ok((self.store.name(), [config, tensors]));
        }
        let (checkpoint, _) = self.newest_checkpoint().await?;
        let file = |name| checkpoint.file(name).unwrap_or_default().to_vec();
        let files = [file(io::CONFIG), file(io::TENSORS)];
        Ok((checkpoint.place, files))
    }

    /// What there is of the run after it failed, for the person to know.
    pub async fn kept(&self) -> String {
        match self.checkpoints().await.ok().and_then(|mut found| found.pop()) {
            Some(step) => {
                format!("{}/{CHECKPOINT}{step} has the adapter as it was after step {step}", self.store.name())
            }
            None => "no checkpoint was written, so a new run may begin in this folder".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pollster::block_on;

    use super::*;
    use crate::peft::io::{CARD, CONFIG, TENSORS};
    use crate::record::checkpoint_step;
    use crate::train::checkpoint::{BEST, OPTIMIZER, PROGRESS};

    /// Files in memory. A folder is written file by file, as in a browser.
    #[derive(Default)]
    struct Memory(BTreeMap<String, Vec<u8>>);

    impl Store for Memory {
        fn name(&self) -> String {
            "memory".into()
        }

        async fn entries(&self) -> Result<Vec<String>> {
            let mut names: Vec<String> =
                self.0.keys().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
            names.dedup();
            Ok(names)
        }

        async fn bytes(&self) -> Result<u64> {
            Ok(self.0.values().map(|bytes| bytes.len() as u64).sum())
        }

        async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
            Ok(self.0.get(path).cloned())
        }

        async fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
            self.0.insert(name.into(), bytes.to_vec());
            Ok(())
        }

        async fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
            self.0.entry(name.into()).or_default().extend(bytes);
            Ok(())
        }

        async fn write_folder(&mut self, name: &str, mut files: Parts<'_>) -> Result<()> {
            self.remove_folder(name).await?;
            while let Some(part) = files.next().await? {
                self.append(&format!("{name}/{}", part.name), &part.bytes).await?;
            }
            Ok(())
        }

        async fn remove_folder(&mut self, name: &str) -> Result<()> {
            self.0.retain(|path, _| !path.starts_with(&format!("{name}/")));
            Ok(())
        }
    }

    fn files() -> Vec<StreamedFile<'static>> {
        [CONFIG, TENSORS, CARD, OPTIMIZER, BEST, PROGRESS, STATE]
            .map(|name| File { name, bytes: name.repeat(3).into_bytes() }.into())
            .into()
    }

    fn newest(record: &Record<Memory>) -> (usize, usize) {
        let (checkpoint, remarks) = block_on(record.newest_checkpoint()).unwrap();
        (checkpoint.step, remarks.len())
    }

    #[test]
    fn what_is_torn_or_flipped_in_a_checkpoint_is_seen() {
        let mut record = Record::new(Memory::default());
        for step in [4, 8] {
            block_on(record.write_checkpoint(step, files())).unwrap();
        }
        for has_version in [false, true] {
            if has_version {
                block_on(record.store.write(RECORD, b"{}")).unwrap();
            }
            assert_eq!(newest(&record), (8, 0));
            for name in files().iter().map(|file| file.name).chain([SUMS]) {
                let path = format!("checkpoint-8/{name}");
                let whole = record.store.0[&path].clone();
                let others = (0..whole.len()).flat_map(|at| {
                    let mut flipped = whole.clone();
                    flipped[at] ^= 1 << (at % 8);
                    [flipped, whole[..at].to_vec()]
                });
                for other in others {
                    let said = String::from_utf8_lossy(&other).into_owned();
                    record.store.0.insert(path.clone(), other);
                    assert_eq!(newest(&record), (4, 1), "{name}: {said}");
                }
                record.store.0.remove(&path);
                // One of an earlier version has no sums.
                let good = name == SUMS && !has_version;
                assert_eq!(newest(&record), if good { (8, 1) } else { (4, 1) }, "without {name}");
                record.store.0.insert(path, whole);
            }
            assert_eq!(newest(&record), (8, 0));
        }
        record.store.0.remove("checkpoint-4/optimizer.safetensors");
        record.store.0.insert("checkpoint-8/SHA256SUMS".into(), Vec::new());
        let error = block_on(record.newest_checkpoint()).err().expect("neither is whole");
        assert!(error.to_string().contains("no whole checkpoint to resume from: "), "{error}");
    }

    /// Files are written one after the other: whenever that ends, an older checkpoint is what the run goes on from.
    #[test]
    fn half_of_a_checkpoint_is_none() {
        let mut record = Record::new(Memory::default());
        block_on(record.store.write(RECORD, b"{}")).unwrap();
        block_on(record.write_checkpoint(4, files())).unwrap();
        let mut parts = Parts::with_sums(files());
        while let Some(part) = block_on(parts.next()).unwrap() {
            if let before @ 1.. = record.store.0.keys().filter(|path| path.starts_with("checkpoint-8/")).count() {
                assert_eq!(newest(&record), (4, 1), "{before} files");
            }
            record.store.0.insert(format!("checkpoint-8/{}", part.name), part.bytes);
        }
        assert_eq!(newest(&record), (8, 0));
    }

    #[test]
    fn of_many_checkpoints_the_newest_and_the_best_are_kept() {
        let left = |limit, best| {
            let mut record = Record::new(Memory::default());
            for step in [2, 4, 10, 12] {
                block_on(record.write_checkpoint(step, files())).unwrap();
            }
            block_on(record.limit_checkpoints(limit, best)).unwrap();
            block_on(record.checkpoints()).unwrap()
        };
        assert_eq!(left(0, None), [2, 4, 10, 12]);
        assert_eq!(left(1, None), [12]);
        assert_eq!(left(3, None), [4, 10, 12]);
        // As transformers: the best beside the newest, also where one was asked for.
        assert_eq!(left(1, Some(4)), [4, 12]);
        assert_eq!(left(3, Some(2)), [2, 10, 12]);
        assert_eq!(left(2, Some(12)), [10, 12]);
        assert_eq!(left(9, Some(3)), [2, 4, 10, 12]);
    }

    #[test]
    fn checkpoints_have_their_names_to_the_letter() {
        assert_eq!(checkpoint_step("checkpoint-120"), Some(120));
        for name in ["checkpoint-", "checkpoint-+5", "checkpoint-05", "checkpoint-5.txt", "my-checkpoint-5"] {
            assert_eq!(checkpoint_step(name), None, "{name}");
        }
    }
}
