//! The folder of a run. Every file appears whole or not at all; the one that grows, `metrics.jsonl`, grows by lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tunesmith::peft::io::{CARD, CONFIG, File as NamedFile, TENSORS};
use tunesmith::settings::config::RunConfig;
use tunesmith::train::Event;
use tunesmith::{Error, Result};

use super::adapter::REFERENCE;

/// The settings.
pub const RUN: &str = "run.json";
/// The events that measure something.
pub const METRICS: &str = "metrics.jsonl";
/// The same in the transformers library's form.
pub const STATE: &str = "trainer_state.json";

const CHECKPOINT: &str = "checkpoint-";
/// What a file or folder is called while it is being written.
const DRAFT: &str = ".draft-";

/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
    metrics: Option<File>,
    /// What `metrics.jsonl` holds.
    lines: Vec<Value>,
    /// Folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl RunFolder {
    /// A folder for a new run: it can be written, and holds no other run.
    ///
    /// # Errors
    /// When it cannot be written or is taken.
    pub fn for_new_run(path: &Path) -> Result<Self> {
        let folder = Self::writable(path)?;
        let files = [RUN, METRICS, STATE, CONFIG, TENSORS, CARD].map(|name| path.join(name));
        let taken = files.into_iter().find(|file| file.exists());
        if let Some(file) = taken.or(folder.checkpoints()?.pop().map(|(_, path)| path)) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Error::Format {
                file: path.display().to_string(),
                what: format!("there is a {name} in this folder already, and a new run would overwrite it"),
                help: "give another --out, or continue the run that is there with --resume".into(),
            });
        }
        Ok(folder)
    }

    /// The folder of a run that is to be continued, with its settings.
    ///
    /// # Errors
    /// When there is no run in it, or it cannot be written.
    pub fn of_run(path: &Path) -> Result<(Self, RunConfig)> {
        let file = path.join(RUN);
        let text = fs::read_to_string(&file).map_err(|error| Error::Format {
            file: file.display().to_string(),
            what: format!("there is no run to resume: {error}"),
            help: "leave out --resume to begin a run, or give the --out of the run that was stopped".into(),
        })?;
        let config = RunConfig::from_json(&text)?;
        let mut folder = Self::writable(path)?;
        let metrics = path.join(METRICS);
        match fs::read_to_string(&metrics) {
            Ok(text) => folder.lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&metrics, error)),
        }
        Ok((folder, config))
    }

    /// Finds out whether files can be written there, and leaves nothing behind.
    fn writable(path: &Path) -> Result<Self> {
        let mut folder = RunFolder { path: path.to_owned(), metrics: None, lines: Vec::new(), made: Vec::new() };
        let outcome = folder.make().and_then(|()| {
            let probe = path.join(format!("{DRAFT}probe"));
            File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(|error| failed(path, error))
        });
        folder.unmake();
        outcome.map(|()| folder)
    }

    fn make(&mut self) -> Result<()> {
        let missing = self.path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        self.made = missing.map(Path::to_owned).collect();
        self.made.reverse();
        fs::create_dir_all(&self.path).map_err(|error| failed(&self.path, error))
    }

    /// Takes away the folders that were made, as far as they are empty.
    fn unmake(&mut self) {
        for folder in self.made.drain(..).rev() {
            // One that is not empty, or was never made, stays as it is.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Begins, or goes on after `step` steps: makes the folder, writes the settings, opens the metrics.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn begin(&mut self, config: &RunConfig, step: usize) -> Result<()> {
        self.make()?;
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&self.path, error))?.flatten() {
            // A run that was killed may have left a draft.
            if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                remove(&entry.path())?;
            }
        }
        // What came after the checkpoint comes again.
        self.lines.retain(|line| line["step"].as_u64().is_some_and(|at| at <= step as u64));
        let metrics: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        self.write(RUN, pretty(&config.to_json()).as_bytes())?;
        self.write(METRICS, metrics.as_bytes())?;
        let path = self.path.join(METRICS);
        self.metrics = Some(OpenOptions::new().append(true).open(&path).map_err(|error| failed(&path, error))?);
        Ok(())
    }

    /// Takes a run that has done nothing away again.
    pub fn abandon(mut self) {
        if self.lines.is_empty() && self.metrics.take().is_some() {
            for name in [RUN, METRICS] {
                // The error that led here is the one to tell.
                let _ = fs::remove_file(self.path.join(name));
            }
            self.unmake();
        }
    }

    /// Keeps an event that measures something.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, event: &Event) -> Result<()> {
        if !matches!(event, Event::Step { .. } | Event::Eval { .. }) {
            return Ok(());
        }
        let line = serde_json::to_value(event).expect("plain values");
        if let Some(file) = &mut self.metrics {
            file.write_all(format!("{line}\n").as_bytes()).map_err(|error| failed(&self.path.join(METRICS), error))?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// What was recorded, one object a step or evaluation.
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// The folder as a person gave it.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes one file, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (draft, path) = (self.path.join(format!("{DRAFT}{name}")), self.path.join(name));
        write_through(&draft, bytes).and_then(|()| fs::rename(&draft, &path)).map_err(|error| failed(&path, error))
    }

    /// Writes a checkpoint's folder, whole, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_checkpoint(&self, step: usize, files: &[NamedFile]) -> Result<PathBuf> {
        let path = self.path.join(format!("{CHECKPOINT}{step}"));
        let draft = self.path.join(format!("{DRAFT}{CHECKPOINT}{step}"));
        fs::create_dir(&draft).map_err(|error| failed(&draft, error))?;
        for file in files {
            let path = draft.join(file.name);
            write_through(&path, &file.bytes).map_err(|error| failed(&path, error))?;
        }
        remove(&path)?;
        fs::rename(&draft, &path).map_err(|error| failed(&path, error))?;
        Ok(path)
    }

    /// Keeps the adapter that the run begins from and compares with, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_reference(&self, files: &[(&str, Vec<u8>)]) -> Result<()> {
        let (draft, path) = (self.path.join(format!("{DRAFT}{REFERENCE}")), self.path.join(REFERENCE));
        fs::create_dir(&draft).map_err(|error| failed(&draft, error))?;
        for (name, bytes) in files {
            let path = draft.join(name);
            write_through(&path, bytes).map_err(|error| failed(&path, error))?;
        }
        fs::rename(&draft, &path).map_err(|error| failed(&path, error))
    }

    /// The checkpoint with the most steps.
    ///
    /// # Errors
    /// When there is none, or the folder cannot be read.
    pub fn newest_checkpoint(&self) -> Result<PathBuf> {
        let newest = self.checkpoints()?.pop();
        newest.map(|(_, path)| path).ok_or_else(|| Error::Format {
            file: self.name(),
            what: "the run in this folder has no checkpoint to resume from".into(),
            help: "remove the folder and begin again without --resume; --save-steps sets how often one is written"
                .into(),
        })
    }

    /// Checkpoints by their steps.
    fn checkpoints(&self) -> Result<Vec<(usize, PathBuf)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.path, error)),
        };
        let step = |name: &str| name.strip_prefix(CHECKPOINT)?.parse().ok();
        let step = |path: PathBuf| Some((step(&path.file_name()?.to_string_lossy())?, path));
        let mut found: Vec<(usize, PathBuf)> = entries.flatten().filter_map(|entry| step(entry.path())).collect();
        found.sort();
        Ok(found)
    }
}

/// JSON for people.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Writes a file down to the disk.
fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let outcome = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::io(path.display().to_string(), error)
}
