//! The base model: the file that was named, or the default one, onto the device.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::{FileSource, ReadAt};
use tunesmith::format::split;
use tunesmith::gpu::{Context, Features};
use tunesmith::model::{Model, folder};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::{Error, Result};

use super::report::Report;
use super::{args, fetch, forms};

/// The model file that `--model` names, or the default one.
///
/// # Errors
/// When the default one is not there and cannot be fetched.
pub fn path(matches: &ArgMatches, report: &Report) -> Result<PathBuf> {
    args::path(matches, "model").map_or_else(|| fetch::default_model(report), |path| Ok(path.clone()))
}

/// What the files that make up a model's folder end in, and those that it may have in their place.
const OF_FOLDERS: [&str; 5] = ["json", "jinja", "safetensors", "bin", "model"];

/// Opens a model in a folder, as Hugging Face has it.
fn open_folder(path: &Path) -> Result<Gguf> {
    let failed = |error: std::io::Error| Error::io(path.display().to_string(), error);
    let mut files: Vec<Box<dyn ReadAt>> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_one = file.extension().and_then(|end| end.to_str()).is_some_and(|end| OF_FOLDERS.contains(&end));
        if is_one && !file.is_dir() {
            files.push(Box::new(FileSource::open(&file)?));
        }
    }
    // The system names files in no order, and tensors are read file by file.
    files.sort_by(|one, other| one.name().cmp(other.name()));
    folder::open(&path.display().to_string(), files)
}

/// Opens a model file, and those beside it that it is a part of a model with; or a model's folder.
///
/// # Errors
/// For a file that is not there or is no whole GGUF.
pub fn open(path: &Path) -> Result<Gguf> {
    if path.is_dir() {
        return open_folder(path);
    }
    let whole = |name: String| FileSource::open(name).map(|source| Box::new(source) as Box<dyn ReadAt>);
    match path.to_str().and_then(split::parts) {
        Some(parts) => Gguf::open_parts(parts.map(whole).collect::<Result<_>>()?),
        None => Gguf::open(Box::new(FileSource::open(path)?)),
    }
}

/// Puts the model that `--model` names, or the default one, onto the device.
///
/// # Errors
/// As [`path`], [`open`] and [`load_gguf`].
pub fn load(matches: &ArgMatches, config: &RunConfig, report: &mut Report) -> Result<Model> {
    let gguf = open(&path(matches, report)?)?;
    load_gguf(&gguf, config, report)
}

/// The model that `--judge-model` names, beside the one that is trained.
///
/// # Errors
/// As [`load`].
pub fn judge(matches: &ArgMatches, report: &mut Report) -> Result<Option<Rc<Model>>> {
    let Some(path) = args::path(matches, "judge-model") else { return Ok(None) };
    load_gguf(&open(path)?, &RunConfig::new(Method::Lora), report).map(|model| Some(Rc::new(model)))
}

/// The device, as the settings ask for it.
///
/// # Errors
/// As [`Context::with`].
pub fn device(config: &RunConfig) -> Result<Context> {
    block_on(Context::with(if config.fp16 { Features::Half } else { Features::Fast }))
}

/// Puts a model onto the device, as the settings ask for it.
///
/// # Errors
/// For a model we cannot run, or a device that cannot hold it.
pub fn load_gguf(gguf: &Gguf, config: &RunConfig, report: &mut Report) -> Result<Model> {
    let context = device(config)?;
    forms::restore(&context);
    report.start_bar(gguf.file_len(), "Loading the model {bar:24} {percent}%");
    let progress = |done, total| report.move_bar(done, total);
    let model = block_on(Model::load_as(&context, gguf, config.load_in_4bit, progress));
    report.end_bar();
    model
}
