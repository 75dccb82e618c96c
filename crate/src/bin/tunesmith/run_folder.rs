//! The folder of a run. Every file appears whole or not at all; the one that grows, `metrics.jsonl`, grows by lines.
//! Nothing is overwritten or removed but what a run wrote.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tunesmith::peft::io::{CARD, CONFIG, File as NamedFile, TENSORS};
use tunesmith::settings::config::RunConfig;
use tunesmith::train::Event;
use tunesmith::{Error, Result};

use super::adapter::REFERENCE;
use super::sums::{CHECKPOINT_FILES, STATE, damage, sums};

/// The settings.
pub const RUN: &str = "run.json";
/// The events that measure something.
pub const METRICS: &str = "metrics.jsonl";

const CHECKPOINT: &str = "checkpoint-";
/// What the name of a file or folder begins with while it is being written.
const DRAFT: &str = ".draft-";

/// The files of a run, its checkpoints aside.
const FILES: [&str; 6] = [RUN, METRICS, STATE, CONFIG, TENSORS, CARD];
/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
    metrics: Option<File>,
    /// What `metrics.jsonl` holds.
    lines: Vec<Value>,
    /// Folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
    /// The folder itself, which no other run can lock meanwhile.
    lock: Option<File>,
}

impl RunFolder {
    /// A folder for a new run: it can be written, and holds no other run that got anywhere.
    ///
    /// # Errors
    /// When it cannot be written or is taken.
    pub fn for_new_run(path: &Path) -> Result<Self> {
        let folder = Self::writable(path)?;
        folder.free()?;
        Ok(folder)
    }

    /// Makes sure that a new run overwrites nothing. Metrics and settings count for nothing where they are all that is
    /// there: a run that ended before its first checkpoint has left them, and nobody can go on from there.
    fn free(&self) -> Result<()> {
        let left: &[&str] = match (self.text(METRICS), self.text(RUN)) {
            (Some(metrics), Some(settings)) if are_metrics(&metrics) && are_settings(&settings) => &[METRICS, RUN],
            // The metrics are written first.
            (Some(metrics), None) if are_metrics(&metrics) => &[METRICS],
            _ => &[],
        };
        let files: Vec<&str> = FILES.into_iter().filter(|name| self.path.join(name).exists()).collect();
        // It is written after the settings.
        let reference = (!left.contains(&RUN) && self.path.join(REFERENCE).exists()).then(|| REFERENCE.to_owned());
        let checkpoint = self.checkpoints()?.pop().map(|(step, _)| format!("{CHECKPOINT}{step}")).or(reference);
        if checkpoint.is_none() && files.iter().all(|name| left.contains(name)) {
            return Ok(());
        }
        let name = files.first().map(|name| (*name).to_owned()).or(checkpoint).unwrap_or_default();
        Err(Error::Format {
            file: self.name(),
            what: format!("there is a {name} in this folder already, and a new run would overwrite it"),
            help: "give another --out, or continue the run that is there with --resume".into(),
        })
    }

    /// What a file of the folder says, if it is there and text.
    fn text(&self, name: &str) -> Option<String> {
        let path = self.path.join(name);
        path.is_file().then(|| fs::read_to_string(path).ok())?
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
        let mut folder = Self { path: path.to_owned(), metrics: None, lines: Vec::new(), made: Vec::new(), lock: None };
        let outcome = folder.make().and_then(|()| folder.lock()).and_then(|()| {
            let probe = folder.draft(RUN);
            match File::create_new(&probe).and_then(|_| fs::remove_file(&probe)) {
                // A run that was killed could write there.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                outcome => outcome.map_err(|error| failed(path, error)),
            }
        });
        if !folder.made.is_empty() {
            folder.lock = None;
        }
        folder.unmake();
        outcome.map(|()| folder)
    }

    /// Keeps other runs out of the folder.
    fn lock(&mut self) -> Result<()> {
        // Not every system opens folders, and not every file system has locks: there nothing keeps them out.
        let Ok(folder) = File::open(&self.path) else { return Ok(()) };
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
            return Err(Error::Format {
                file: self.name(),
                what: "another run is at work in this folder".into(),
                help: "wait until it has ended, or give another --out".into(),
            });
        }
        self.lock = Some(folder);
        Ok(())
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
        if self.lock.is_none() {
            self.lock()?;
        }
        if step == 0 {
            // Another run may have begun and ended here meanwhile.
            self.free()?;
            // That of a run which ended before its first checkpoint.
            remove_folder(&self.path.join(REFERENCE))?;
        }
        self.remove_drafts()?;
        // What came after the checkpoint comes again.
        self.lines.retain(|line| line["step"].as_u64().is_some_and(|at| at <= step as u64));
        let metrics: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        self.write(METRICS, metrics.as_bytes())?;
        let path = self.path.join(METRICS);
        self.metrics = Some(OpenOptions::new().append(true).open(&path).map_err(|error| failed(&path, error))?);
        self.write(RUN, pretty(&config.to_json()).as_bytes())
    }

    /// Removes the drafts that a run has left which was killed.
    fn remove_drafts(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&self.path, error))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(DRAFT)) else { continue };
            if step_of(name).is_some() || name == REFERENCE {
                remove_folder(&path)?;
            } else if FILES.contains(&name) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    /// Takes a run that has done nothing away again.
    pub fn abandon(mut self) {
        let no_checkpoints = self.checkpoints().is_ok_and(|found| found.is_empty());
        if self.lines.is_empty() && no_checkpoints && self.metrics.take().is_some() {
            // The error that led here is the one to tell.
            let _ = remove_folder(&self.path.join(REFERENCE));
            for name in [RUN, METRICS] {
                let _ = fs::remove_file(self.path.join(name));
            }
        }
        self.unmake();
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
        let (draft, path) = (self.draft(name), self.path.join(name));
        write_through(&draft, bytes)?;
        fs::rename(&draft, &path).map_err(|error| {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&draft);
            failed(&path, error)
        })
    }

    /// Where a file or folder is written before it gets its name.
    fn draft(&self, name: &str) -> PathBuf {
        self.path.join(format!("{DRAFT}{name}"))
    }

    /// Writes a checkpoint's folder, whole, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_checkpoint(&self, step: usize, files: &[NamedFile]) -> Result<PathBuf> {
        let sums = sums(files);
        let files: Vec<&NamedFile> = files.iter().chain([&sums]).collect();
        self.write_folder(&format!("{CHECKPOINT}{step}"), &files)
    }

    /// Removes the oldest checkpoints, so that `limit` are left: the newest, and that of step `best`, stay in any case. 0 is no
    /// limit.
    ///
    /// # Errors
    /// When one cannot be removed, or holds what the run did not write.
    pub fn limit_checkpoints(&self, limit: usize, best: Option<usize>) -> Result<()> {
        let mut found = self.checkpoints()?;
        let newest = found.pop();
        let kept = found.iter().filter(|(step, _)| Some(*step) == best).count() + usize::from(newest.is_some());
        found.retain(|(step, _)| Some(*step) != best);
        if limit > 0 {
            let more = limit.saturating_sub(kept);
            found.truncate(found.len().saturating_sub(more));
            found.iter().try_for_each(|(_, path)| remove_folder(path))?;
        }
        Ok(())
    }

    /// Keeps the adapter that the run begins from and compares with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_reference(&self, files: &[NamedFile]) -> Result<()> {
        self.write_folder(REFERENCE, &files.iter().collect::<Vec<_>>()).map(drop)
    }

    /// Writes a folder, whole, in the place of one that a run wrote.
    fn write_folder(&self, name: &str, files: &[&NamedFile]) -> Result<PathBuf> {
        let (draft, path) = (self.draft(name), self.path.join(name));
        fs::create_dir(&draft).map_err(|error| failed(&draft, error))?;
        let written = files
            .iter()
            .try_for_each(|file| write_through(&draft.join(file.name), &file.bytes))
            .and_then(|()| remove_folder(&path))
            .and_then(|()| fs::rename(&draft, &path).map_err(|error| failed(&path, error)));
        if written.is_err() {
            // The error that led here is the one to tell.
            let _ = fs::remove_dir_all(&draft);
        }
        written.map(|()| path)
    }

    /// The checkpoint with the most steps whose files are as they were written, and what is wrong with newer ones.
    ///
    /// # Errors
    /// When there is none, or the folder cannot be read.
    pub fn newest_checkpoint(&self) -> Result<(PathBuf, Vec<String>)> {
        let mut damaged = Vec::new();
        for (_, path) in self.checkpoints()?.into_iter().rev() {
            match damage(&path) {
                None => return Ok((path, damaged)),
                Some(what) => damaged.push(format!("{} is damaged: {what}", path.display())),
            }
        }
        Err(Error::Format {
            file: self.name(),
            what: match damaged.first() {
                None => "the run in this folder has no checkpoint to resume from".into(),
                Some(what) => format!("the run in this folder has no whole checkpoint to resume from: {what}"),
            },
            help: format!(
                "begin again without --resume, in {} folder; --save-steps sets how often one is written",
                if self.free().is_ok() { "this or another" } else { "another" },
            ),
        })
    }

    /// What there is of the run after it failed, for the person to know.
    pub fn kept(&self) -> String {
        match self.checkpoints().ok().and_then(|mut found| found.pop()) {
            Some((step, path)) => format!("{} has the adapter as it was after step {step}", path.display()),
            None => "no checkpoint was written, so a new run may begin in this folder".into(),
        }
    }

    /// Checkpoints by their steps.
    fn checkpoints(&self) -> Result<Vec<(usize, PathBuf)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.path, error)),
        };
        let step = |path: PathBuf| Some((step_of(path.file_name()?.to_str()?)?, path));
        let mut found: Vec<(usize, PathBuf)> = entries.flatten().filter_map(|entry| step(entry.path())).collect();
        found.sort();
        Ok(found)
    }
}

/// JSON for people.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Whether these are the metrics of a run, whose last line may be half written.
fn are_metrics(text: &str) -> bool {
    const START: &str = "{\"event\":\"";
    let is_event = |line: Value| matches!(line["event"].as_str(), Some("step" | "eval"));
    text.split_inclusive('\n').all(|line| match line.strip_suffix('\n') {
        Some(line) => serde_json::from_str(line).is_ok_and(is_event),
        None => line.starts_with(START) || START.starts_with(line),
    })
}

/// Whether these are the settings of a run as it writes them, and not as a person does.
fn are_settings(text: &str) -> bool {
    RunConfig::from_json(text).is_ok_and(|config| pretty(&config.to_json()) == text)
}

/// The steps of a checkpoint, by its folder's name.
fn step_of(name: &str) -> Option<usize> {
    let step = name.strip_prefix(CHECKPOINT)?.parse().ok()?;
    (name == format!("{CHECKPOINT}{step}")).then_some(step)
}

/// Writes a new file down to the disk, whole or not at all.
fn write_through(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path).map_err(|error| failed(path, error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // The error that led here is the one to tell.
        let _ = fs::remove_file(path);
        failed(path, error)
    })
}

/// Removes a checkpoint, the reference, or the draft of one, if it is there.
///
/// # Errors
/// When something is in its place that no run wrote; then all of it stays.
fn remove_folder(path: &Path) -> Result<()> {
    let taken = |what: String| Error::Format {
        file: path.display().to_string(),
        what,
        help: "move it elsewhere, for a folder of the run takes its place".into(),
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(kind) if !kind.is_dir() => return Err(taken("this is no folder that a run wrote".into())),
        _ => {}
    }
    for entry in fs::read_dir(path).map_err(|error| failed(path, error))? {
        let entry = entry.map_err(|error| failed(path, error))?;
        let name = entry.file_name();
        let ours = CHECKPOINT_FILES.iter().any(|&file| name == *file);
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Err(taken(format!("there is a {} in it, which no run wrote", name.display())));
        }
    }
    fs::remove_dir_all(path).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::io(path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use tunesmith::train::checkpoint::{BEST, OPTIMIZER, PROGRESS};

    use super::*;
    use crate::sums::SUMS;

    #[test]
    fn a_checkpoint_takes_the_place_of_a_checkpoint_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::for_new_run(parent.path()).unwrap();
        let write = |text: &str| {
            let files = [CONFIG, TENSORS, STATE].map(|name| NamedFile { name, bytes: text.into() });
            folder.write_checkpoint(7, &files)
        };
        let path = write("one").unwrap();
        assert_eq!(write("two").unwrap(), path);
        assert_eq!(fs::read_to_string(path.join(TENSORS)).unwrap(), "two");

        fs::write(path.join("thesis.txt"), "theirs").unwrap();
        let error = write("three").unwrap_err();
        assert!(error.to_string().contains("there is a thesis.txt in it"), "{error}");
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!((read("thesis.txt"), read(TENSORS)), ("theirs".into(), "two".into()));
        // The draft is gone.
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_torn_or_flipped_in_a_checkpoint_is_seen() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::for_new_run(parent.path()).unwrap();
        let files = [CONFIG, TENSORS, CARD, OPTIMIZER, BEST, PROGRESS, STATE]
            .map(|name| NamedFile { name, bytes: name.repeat(3).into_bytes() });
        let checkpoints = [4, 8].map(|step| folder.write_checkpoint(step, &files).unwrap());
        let newest = || folder.newest_checkpoint().unwrap();
        assert_eq!(newest(), (checkpoints[1].clone(), Vec::new()));
        for name in files.iter().map(|file| file.name).chain([SUMS]) {
            let path = checkpoints[1].join(name);
            let whole = fs::read(&path).unwrap();
            let others = (0..whole.len()).flat_map(|at| {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << (at % 8);
                [flipped, whole[..at].to_vec()]
            });
            for other in others {
                fs::write(&path, &other).unwrap();
                let (path, damaged) = newest();
                assert_eq!((&path, damaged.len()), (&checkpoints[0], 1), "{name}: {}", String::from_utf8_lossy(&other));
            }
            fs::remove_file(&path).unwrap();
            // One of an earlier version has no sums.
            assert_eq!(newest().0, checkpoints[usize::from(name == SUMS)], "without {name}");
            fs::write(&path, whole).unwrap();
        }
        assert_eq!(newest().0, checkpoints[1]);
        fs::remove_file(checkpoints[0].join(OPTIMIZER)).unwrap();
        fs::write(checkpoints[1].join(SUMS), "").unwrap();
        let error = folder.newest_checkpoint().unwrap_err();
        assert!(error.to_string().contains("no whole checkpoint to resume from: "), "{error}");
    }

    #[test]
    fn of_many_checkpoints_the_newest_and_the_best_are_kept() {
        let left = |limit, best| {
            let parent = tempfile::tempdir().unwrap();
            let folder = RunFolder::for_new_run(parent.path()).unwrap();
            for step in [2, 4, 10, 12] {
                folder.write_checkpoint(step, &[NamedFile { name: TENSORS, bytes: Vec::new() }]).unwrap();
            }
            folder.limit_checkpoints(limit, best).unwrap();
            folder.checkpoints().unwrap().iter().map(|(step, _)| *step).collect::<Vec<_>>()
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
    fn a_checkpoint_that_cannot_be_written_leaves_no_half_of_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::for_new_run(parent.path()).unwrap();
        let files = [TENSORS, "no-such-folder/file"].map(|name| NamedFile { name, bytes: vec![0; 9] });
        let error = folder.write_checkpoint(7, &files).unwrap_err();
        assert!(error.to_string().contains("no-such-folder"), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    /// Elsewhere folders may have no locks.
    #[cfg(unix)]
    #[test]
    fn of_two_runs_at_once_the_second_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let config = RunConfig::new(tunesmith::settings::config::Method::Lora);
        // Neither has begun, so both may.
        let [mut first, mut second] = [(); 2].map(|()| RunFolder::for_new_run(&path).unwrap());
        first.begin(&config, 0).unwrap();
        let error = second.begin(&config, 0).unwrap_err();
        assert!(error.to_string().ends_with("another run is at work in this folder"), "{error}");
        second.abandon();
        assert!(RunFolder::for_new_run(&path).is_err() && RunFolder::of_run(&path).is_err());
        assert_eq!(fs::read_to_string(path.join(RUN)).unwrap(), pretty(&config.to_json()));
        // One that has ended with nothing to lose makes room.
        drop(first);
        RunFolder::for_new_run(&path).unwrap().begin(&config, 0).unwrap();
    }

    #[test]
    fn a_run_that_ends_while_another_gets_ready_is_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let config = RunConfig::new(tunesmith::settings::config::Method::Lora);
        let [mut first, mut second] = [(); 2].map(|()| RunFolder::for_new_run(&path).unwrap());
        first.begin(&config, 0).unwrap();
        first.write_checkpoint(1, &[NamedFile { name: TENSORS, bytes: Vec::new() }]).unwrap();
        drop(first);
        let error = second.begin(&config, 0).unwrap_err();
        assert!(error.to_string().contains("there is a run.json in this folder already"), "{error}");
        second.abandon();
        assert!(path.join("checkpoint-1").exists() && path.join(RUN).exists());
    }

    #[test]
    fn a_half_written_line_of_metrics_is_a_line_of_metrics() {
        let whole = "{\"event\":\"step\",\"step\":1}\n{\"event\":\"eval\",\"step\":1}\n";
        assert!((0..=whole.len()).all(|end| are_metrics(&whole[..end])));
        for other in ["Dear diary", "{}", "{\"step\":1}\n", "{\"event\":\"party\"}\n", "\n", "not JSON\n"] {
            assert!(!are_metrics(other), "{other}");
        }
    }

    #[test]
    fn checkpoints_have_their_names_to_the_letter() {
        assert_eq!(step_of("checkpoint-120"), Some(120));
        for name in ["checkpoint-", "checkpoint-+5", "checkpoint-05", "checkpoint-5.txt", "my-checkpoint-5"] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }
}
