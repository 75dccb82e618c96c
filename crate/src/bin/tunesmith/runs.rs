//! `tunesmith runs`: what is in a folder of runs, and how they differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::{Value, json};
use tunesmith::peft::io::{CONFIG, TENSORS};
use tunesmith::settings::config::RunConfig;
use tunesmith::{Error, Result};

use super::args;
use super::report::Report;
use super::run_folder::{METRICS, RUN};

/// What a run's folder says of it.
struct Run {
    name: String,
    path: PathBuf,
    /// Its settings, as `run.json` has them.
    settings: Value,
    /// The model under it; empty before its first checkpoint.
    base: String,
    steps: u64,
    /// The loss of the last step that was reported.
    loss: Option<f64>,
    /// The lowest loss on what is held out, and the step after which that was.
    best: Option<(u64, f64)>,
    /// Whether it came to its end, where the adapter is.
    is_done: bool,
    bytes: u64,
}

/// Lists the runs of a folder, the folder itself among them, and what their settings differ in.
///
/// # Errors
/// When the folder cannot be read, or there is no run in it.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let folder = args::path(matches, "dir").expect("a required argument");
    let mut paths = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder.display().to_string(), error))? {
        paths.extend(entry.ok().map(|entry| entry.path()));
    }
    paths[1..].sort();
    let mut runs = Vec::new();
    for path in paths.iter().filter(|path| path.join(RUN).is_file()) {
        match Run::read(path) {
            Ok(run) => runs.push(run),
            Err(error) => report.say(&format!("warning: {error}")),
        }
    }
    if runs.is_empty() {
        return Err(Error::Format {
            file: folder.display().to_string(),
            what: "there is no run in this folder".into(),
            help: "give the folder of a run, or one that has those of several in it".into(),
        });
    }
    if report.json() {
        runs.iter().try_for_each(|run| report.object(&run.event()))?;
        return Ok(ExitCode::SUCCESS);
    }
    report.line("| run | base | method | objective | steps | loss | best held-out loss | state | MB |")?;
    report.line("|---|---|---|---|---|---|---|---|---|")?;
    runs.iter().try_for_each(|run| report.line(&run.row()))?;
    let differences = differences(&runs);
    if !differences.is_empty() {
        let names: Vec<&str> = runs.iter().map(|run| &*run.name).collect();
        report.line(&format!("\n| setting | {} |", names.join(" | ")))?;
        report.line(&format!("|---|{}", "---|".repeat(names.len())))?;
        differences.iter().try_for_each(|line| report.line(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Run {
    fn read(path: &Path) -> Result<Self> {
        let file = path.join(RUN);
        let text = fs::read_to_string(&file).map_err(|error| Error::io(file.display().to_string(), error))?;
        let settings = RunConfig::from_json(&text).map_err(|error| Error::Format {
            file: file.display().to_string(),
            what: error.to_string(),
            help: error.help(),
        })?;
        // A run that was killed may have left half a line.
        let metrics = fs::read_to_string(path.join(METRICS)).unwrap_or_default();
        let events: Vec<Value> = metrics.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
        let held_out = of("eval").filter(|event| event["step"] != 0);
        let losses = held_out.filter_map(|event| Some((event["step"].as_u64()?, event["loss"].as_f64()?)));
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        Ok(Self {
            name,
            path: path.to_owned(),
            base: base(path).unwrap_or_default(),
            steps: of("step").filter_map(|event| event["step"].as_u64()).max().unwrap_or_default(),
            loss: of("step").next_back().and_then(|event| event["loss"].as_f64()),
            best: losses.reduce(|best, other| if other.1 < best.1 { other } else { best }),
            is_done: path.join(TENSORS).is_file(),
            bytes: bytes_in(path),
            settings: settings.to_json(),
        })
    }

    fn row(&self) -> String {
        let text = |name: &str| self.settings[name].as_str().unwrap_or_default().to_owned();
        let loss = |loss: f64| format!("{loss:.4}");
        format!(
            "| {} | {} | {} | {} | {} of {} | {} | {} | {} | {:.1} |",
            self.name,
            self.base,
            text("method"),
            text("objective"),
            self.steps,
            self.settings["max_steps"],
            self.loss.map_or_else(String::new, loss),
            self.best.map_or_else(String::new, |(step, value)| format!("{value:.4} at step {step}")),
            if self.is_done { "done" } else { "stopped: go on with --resume" },
            self.bytes as f64 / 1e6
        )
    }

    fn event(&self) -> Value {
        json!({
            "event": "run", "name": self.name, "path": self.path, "base": self.base, "steps": self.steps,
            "max_steps": self.settings["max_steps"], "loss": self.loss, "best_step": self.best.map(|(step, _)| step),
            "best_loss": self.best.map(|(_, loss)| loss), "done": self.is_done, "bytes": self.bytes,
            "config": self.settings,
        })
    }
}

/// The model that the adapter, or that of the newest checkpoint, was made for.
fn base(path: &Path) -> Option<String> {
    let checkpoints = fs::read_dir(path).ok()?.flatten().map(|entry| entry.path().join(CONFIG));
    let file = [path.join(CONFIG)].into_iter().chain(checkpoints).find(|file| file.is_file())?;
    let config: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    config["base_model_name_or_path"].as_str().map(str::to_owned)
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

/// A line for each setting that is not the same in all runs.
fn differences(runs: &[Run]) -> Vec<String> {
    let names = runs.iter().flat_map(|run| run.settings.as_object().into_iter().flatten().map(|(name, _)| name));
    let mut known: Vec<&String> = Vec::new();
    names.for_each(|name| {
        if !known.contains(&name) {
            known.push(name);
        }
    });
    let line = |name: &&String| {
        let values = runs.iter().map(|run| &run.settings[name.as_str()]);
        let shown = values.map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let shown: Vec<String> = shown.collect();
        shown.iter().any(|value| *value != shown[0]).then(|| format!("| {name} | {} |", shown.join(" | ")))
    };
    known.iter().filter_map(line).collect()
}
