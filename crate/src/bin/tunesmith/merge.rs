//! `tunesmith merge`

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::json;
use tunesmith::peft::merge::{Merge, OutType};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base};

/// Writes a model with an adapter merged into it. The file appears whole or not at all.
///
/// # Errors
/// For input that cannot be used, a file that is there already, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let out = args::path(matches, "out").expect("a required flag");
    let outtype = *matches.get_one::<OutType>("outtype").expect("it has a default");
    if out.exists() {
        return Err(taken(out));
    }
    let adapter = Adapter::read(args::path(matches, "adapter").expect("a required flag"))?;
    let gguf = base::open(&base::path(matches, report)?)?;
    let model = base::load_gguf(&gguf, &RunConfig::new(Method::Lora), report)?;
    let peft = adapter.load(&model, matches)?;
    let merge = Merge::new(&model, &gguf, peft.as_ref(), outtype)?;
    let bytes = write(&merge, out, report)?;
    if report.json() {
        report.object(&json!({ "event": "merged", "path": out, "bytes": bytes, "outtype": outtype }))?;
    } else {
        report.say(&format!("The merged model is in {}, {:.1} MB", out.display(), bytes as f64 / 1e6));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a merged model into a file, which appears whole or not at all. Gives its size.
///
/// # Errors
/// For a file that is there already or cannot be written, or a device that failed.
pub fn write(merge: &Merge, out: &Path, report: &mut Report) -> Result<u64> {
    let failed = |error: std::io::Error| Error::io(out.display().to_string(), error);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".draft-").make_in(folder, |path| File::create_new(path));
    let mut draft = draft.map_err(failed)?;
    let (mut done, bytes) = (0, merge.bytes());
    report.start_bar(bytes, "Merging {bar:24} {percent}%");
    block_on(merge.write(|piece| {
        done += piece.len() as u64;
        report.move_bar(done, bytes);
        draft.write_all(piece).map_err(failed)
    }))?;
    report.end_bar();
    draft.as_file().sync_all().map_err(failed)?;
    draft.persist_noclobber(out).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(out),
        _ => failed(error.error),
    })?;
    Ok(bytes)
}

fn taken(out: &Path) -> Error {
    Error::Format {
        file: out.display().to_string(),
        what: "this is there already, and merging would overwrite it".into(),
        help: "give another --out".into(),
    }
}
