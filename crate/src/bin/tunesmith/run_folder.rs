//! The folder of a run's record. Every file appears whole or not at all; the one that grows, `metrics.jsonl`, grows by lines.
//! Nothing is overwritten or removed but what a run wrote.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tunesmith::peft::io::{CARD, CONFIG, TENSORS};
use tunesmith::record::{
    About, CHECKPOINT_FILES, HELD_OUT, METRICS, Parts, RECORD, REFERENCE, ROWS, RUN, RowsHash, STATE, Store,
    checkpoint_step, pretty, sha256,
};
use tunesmith::settings::config::RunConfig;
use tunesmith::{Error, Result};

/// What the name of a file or folder begins with while it is being written.
const DRAFT: &str = ".draft-";

/// The files of a run, its checkpoints aside.
const FILES: [&str; 9] = [RUN, METRICS, RECORD, ROWS, HELD_OUT, STATE, CONFIG, TENSORS, CARD];
/// The folder of a run.
pub struct RunFolder {
    path: PathBuf,
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
        let folder = Self::of_run(path)?;
        folder.free()?;
        Ok(folder)
    }

    /// The folder of a run that is to be continued.
    ///
    /// # Errors
    /// When it cannot be written, or another run is at work in it.
    pub fn of_run(path: &Path) -> Result<Self> {
        let mut folder = Self::to_read(path);
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

    /// A folder that is only looked at.
    pub fn to_read(path: &Path) -> Self {
        Self { path: path.to_owned(), made: Vec::new(), lock: None }
    }

    /// Makes sure that a new run overwrites nothing. Metrics, settings and what is known of a run count for nothing where they
    /// are all that is there: a run that ended before its first checkpoint has left them, and nobody can go on from there.
    fn free(&self) -> Result<()> {
        // The metrics are written first.
        let left: Vec<&str> = match self.text(METRICS) {
            Some(metrics) if are_metrics(&metrics) => {
                let settings = self.text(RUN).is_some_and(|text| are_settings(&text)).then_some(RUN);
                let mut left = vec![METRICS];
                left.extend(settings);
                if let Some(about) = self.text(RECORD).and_then(|text| as_written(&text)) {
                    left.push(RECORD);
                    // Rows are the run's where they are what it wrote.
                    let RowsHash { data, held_out } =
                        about.rows.unwrap_or_else(|| RowsHash { data: String::new(), held_out: None });
                    for (name, hash) in [(ROWS, Some(data)), (HELD_OUT, held_out)] {
                        let bytes = fs::read(self.path.join(name)).ok();
                        left.extend(bytes.filter(|bytes| Some(sha256(bytes)) == hash).map(|_| name));
                    }
                }
                left
            }
            _ => Vec::new(),
        };
        let files: Vec<&str> = FILES.into_iter().filter(|name| self.path.join(name).exists()).collect();
        // It is written after the settings.
        let reference = (!left.contains(&RUN) && self.path.join(REFERENCE).exists()).then(|| REFERENCE.to_owned());
        let checkpoint = names(&self.path)?.into_iter().find(|name| checkpoint_step(name).is_some()).or(reference);
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

    /// Makes the folder and locks it, for a run that begins now, or goes on.
    ///
    /// # Errors
    /// When another run is at work in it, or something is in the way.
    pub fn claim(&mut self, is_new: bool) -> Result<()> {
        self.make()?;
        if self.lock.is_none() {
            self.lock()?;
        }
        if is_new {
            // Another run may have begun and ended here meanwhile.
            self.free()?;
            // That of a run which ended before its first checkpoint.
            remove_folder(&self.path.join(REFERENCE))?;
        }
        self.remove_drafts()
    }

    /// Removes the drafts that a run has left which was killed.
    fn remove_drafts(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&self.path, error))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(DRAFT)) else { continue };
            if checkpoint_step(name).is_some() || name == REFERENCE {
                remove_folder(&path)?;
            } else if FILES.contains(&name) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    /// Whether a new run may begin in it.
    pub fn is_free(&self) -> bool {
        self.free().is_ok()
    }

    /// Ends a run that failed. `is_empty`: it has begun, and done nothing: then it is taken away again.
    pub fn abandon(mut self, is_empty: bool) {
        let no_checkpoints =
            names(&self.path).is_ok_and(|names| !names.iter().any(|name| checkpoint_step(name).is_some()));
        if is_empty && no_checkpoints {
            // The error that led here is the one to tell.
            let _ = remove_folder(&self.path.join(REFERENCE));
            for name in [ROWS, HELD_OUT, RUN, RECORD, METRICS] {
                let _ = fs::remove_file(self.path.join(name));
            }
        }
        self.unmake();
    }

    /// Where a file or folder is written before it gets its name.
    fn draft(&self, name: &str) -> PathBuf {
        self.path.join(format!("{DRAFT}{name}"))
    }
}

impl Store for RunFolder {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    async fn entries(&self) -> Result<Vec<String>> {
        names(&self.path)
    }

    async fn bytes(&self) -> Result<u64> {
        Ok(bytes_in(&self.path))
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    async fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (draft, path) = (self.draft(name), self.path.join(name));
        write_through(&draft, bytes)?;
        fs::rename(&draft, &path).map_err(|error| {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&draft);
            failed(&path, error)
        })
    }

    async fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).map_err(|error| failed(&path, error))
    }

    /// Whole, or not at all.
    async fn write_folder(&mut self, name: &str, files: Parts<'_>) -> Result<()> {
        let (draft, path) = (self.draft(name), self.path.join(name));
        fs::create_dir(&draft).map_err(|error| failed(&draft, error))?;
        let written = write_parts(&draft, files)
            .await
            .and_then(|()| remove_folder(&path))
            .and_then(|()| fs::rename(&draft, &path).map_err(|error| failed(&path, error)));
        if written.is_err() {
            // The error that led here is the one to tell.
            let _ = fs::remove_dir_all(&draft);
        }
        written
    }

    async fn remove_folder(&mut self, name: &str) -> Result<()> {
        remove_folder(&self.path.join(name))
    }
}

/// The names in a folder; none where it is not there.
fn names(path: &Path) -> Result<Vec<String>> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(path, error)),
    }
}

/// Bytes of all files in a folder; links are not followed.
fn bytes_in(path: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(kind) if kind.is_dir() => bytes_in(&entry.path()),
        Ok(kind) => kind.len(),
        Err(_) => 0,
    };
    fs::read_dir(path).map_or(0, |entries| entries.flatten().map(of).sum())
}

/// Whether these are the metrics of a run, whose last line may be half written.
fn are_metrics(text: &str) -> bool {
    const START: &str = "{\"event\":\"";
    let is_event = |line: Value| matches!(line["event"].as_str(), Some("step" | "eval" | "sample"));
    text.split_inclusive('\n').all(|line| match line.strip_suffix('\n') {
        Some(line) => serde_json::from_str(line).is_ok_and(is_event),
        None => line.starts_with(START) || START.starts_with(line),
    })
}

/// Whether these are the settings of a run as it writes them, and not as a person does.
fn are_settings(text: &str) -> bool {
    RunConfig::from_json(text).is_ok_and(|config| pretty(&config.to_json()) == text)
}

/// What a run wrote of itself, where this is that to the letter.
fn as_written(text: &str) -> Option<About> {
    let about: About = serde_json::from_str(text).ok()?;
    (pretty(&serde_json::json!(about)) == text).then_some(about)
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

/// Writes new files into a folder, each down to the disk before the next begins.
async fn write_parts(folder: &Path, mut files: Parts<'_>) -> Result<()> {
    let mut open: Option<(&str, PathBuf, File)> = None;
    loop {
        let part = files.next().await?;
        let name = part.as_ref().map(|part| part.name);
        if let Some((_, path, file)) = open.take_if(|(open, ..)| Some(*open) != name) {
            file.sync_all().map_err(|error| failed(&path, error))?;
        }
        let Some(part) = part else { return Ok(()) };
        if open.is_none() {
            let path = folder.join(part.name);
            let file = File::create_new(&path).map_err(|error| failed(&path, error))?;
            open = Some((part.name, path, file));
        }
        if let Some((_, path, file)) = &mut open {
            file.write_all(&part.bytes).map_err(|error| failed(path, error))?;
        }
    }
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
    use pollster::block_on;
    use tunesmith::peft::io::File as NamedFile;
    use tunesmith::settings::config::Method;

    use super::*;

    fn parts(files: Vec<(&'static str, Vec<u8>)>) -> Parts<'static> {
        Parts::new(files.into_iter().map(|(name, bytes)| NamedFile { name, bytes }.into()).collect())
    }

    fn names_in(path: &Path) -> Vec<String> {
        let mut names = names(path).unwrap();
        names.sort();
        names
    }

    /// Writes what a run writes first.
    fn begin(folder: &mut RunFolder) -> Result<()> {
        folder.claim(true)?;
        block_on(folder.write(METRICS, b""))?;
        block_on(folder.write(RUN, settings().as_bytes()))
    }

    fn settings() -> String {
        pretty(&RunConfig::new(Method::Lora).to_json())
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_a_checkpoint_alone() {
        let parent = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::for_new_run(parent.path()).unwrap();
        let mut write = |text: &str| {
            let files = [CONFIG, TENSORS, STATE].map(|name| (name, text.into()));
            block_on(folder.write_folder("checkpoint-7", parts(files.into())))
        };
        write("one").unwrap();
        write("two").unwrap();
        let path = parent.path().join("checkpoint-7");
        assert_eq!(fs::read_to_string(path.join(TENSORS)).unwrap(), "two");

        fs::write(path.join("thesis.txt"), "theirs").unwrap();
        let error = write("three").unwrap_err();
        assert!(error.to_string().contains("there is a thesis.txt in it"), "{error}");
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!((read("thesis.txt"), read(TENSORS)), ("theirs".into(), "two".into()));
        // The draft is gone.
        assert_eq!(names_in(parent.path()), ["checkpoint-7"]);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_no_half_of_it() {
        let parent = tempfile::tempdir().unwrap();
        let mut folder = RunFolder::for_new_run(parent.path()).unwrap();
        let files = [TENSORS, "no-such-folder/file"].map(|name| (name, vec![0; 9]));
        let error = block_on(folder.write_folder("checkpoint-7", parts(files.into()))).unwrap_err();
        assert!(error.to_string().contains("no-such-folder"), "{error}");
        assert!(names_in(parent.path()).is_empty());
    }

    /// Elsewhere folders may have no locks.
    #[cfg(unix)]
    #[test]
    fn of_two_runs_at_once_the_second_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        // Neither has begun, so both may.
        let [mut first, mut second] = [(); 2].map(|()| RunFolder::for_new_run(&path).unwrap());
        begin(&mut first).unwrap();
        let error = begin(&mut second).unwrap_err();
        assert!(error.to_string().ends_with("another run is at work in this folder"), "{error}");
        second.abandon(false);
        assert!(RunFolder::for_new_run(&path).is_err() && RunFolder::of_run(&path).is_err());
        assert_eq!(fs::read_to_string(path.join(RUN)).unwrap(), settings());
        // One that has ended with nothing to lose makes room.
        drop(first);
        begin(&mut RunFolder::for_new_run(&path).unwrap()).unwrap();
    }

    #[test]
    fn a_run_that_ends_while_another_gets_ready_is_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let [mut first, mut second] = [(); 2].map(|()| RunFolder::for_new_run(&path).unwrap());
        begin(&mut first).unwrap();
        block_on(first.write_folder("checkpoint-1", parts(vec![(TENSORS, Vec::new())]))).unwrap();
        drop(first);
        let error = begin(&mut second).unwrap_err();
        assert!(error.to_string().contains("there is a run.json in this folder already"), "{error}");
        second.abandon(false);
        assert_eq!(names_in(&path), ["checkpoint-1", METRICS, RUN]);
    }

    #[test]
    fn a_half_written_line_of_metrics_is_a_line_of_metrics() {
        let whole = "{\"event\":\"step\",\"step\":1}\n{\"event\":\"eval\",\"step\":1}\n";
        assert!((0..=whole.len()).all(|end| are_metrics(&whole[..end])));
        for other in ["Dear diary", "{}", "{\"step\":1}\n", "{\"event\":\"party\"}\n", "\n", "not JSON\n"] {
            assert!(!are_metrics(other), "{other}");
        }
    }
}
