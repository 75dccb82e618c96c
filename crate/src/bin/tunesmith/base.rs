//! The base model: the file that was named, or the default one, onto the device.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::{FileSource, ReadAt};
use tunesmith::format::split;
use tunesmith::gpu::{Context, Features};
use tunesmith::model::{Model, files};
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

/// The files of a model's folder.
fn of_folder(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::io(path.display().to_string(), error);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.to_str().is_some_and(files::is_of_folder) && !file.is_dir() {
            all.push(file);
        }
    }
    Ok(all)
}

/// Opens a model file, and those beside it that it is a part of a model with; or a model's folder.
///
/// # Errors
/// For a file that is not there or is no whole GGUF.
pub fn open(path: &Path) -> Result<Gguf> {
    let all = match path.to_str().and_then(split::parts) {
        _ if path.is_dir() => of_folder(path)?,
        Some(parts) => parts.map(PathBuf::from).collect(),
        None => vec![path.to_owned()],
    };
    let source = |path| FileSource::open(path).map(|source| Box::new(source) as Box<dyn ReadAt>);
    files::open(&path.display().to_string(), all.into_iter().map(source).collect::<Result<_>>()?)
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
