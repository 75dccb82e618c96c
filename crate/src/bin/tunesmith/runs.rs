//! `tunesmith runs`: what is in a folder of runs, and how they differ.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Value, json};
use tunesmith::record::Summary;
use tunesmith::{Error, Result};

use super::args;
use super::report::Report;
use super::run_folder::RunFolder;

/// A run of the list.
struct Run {
    name: String,
    path: PathBuf,
    summary: Summary,
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
    for path in paths {
        let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        match block_on(Summary::read(&RunFolder::to_read(&path))) {
            Ok(summary) => runs.extend(summary.map(|summary| Run { name, path, summary })),
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
    fn row(&self) -> String {
        let Summary { base, steps, loss, best, done, bytes, config, .. } = &self.summary;
        let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
        let told = |loss: &f64| format!("{loss:.4}");
        format!(
            "| {} | {} | {} | {} | {} of {} | {} | {} | {} | {:.1} |",
            self.name,
            base,
            text("method"),
            text("objective"),
            steps,
            config["max_steps"],
            loss.as_ref().map_or_else(String::new, told),
            best.map_or_else(String::new, |(step, value)| format!("{value:.4} at step {step}")),
            if *done { "done" } else { "stopped: go on with --resume" },
            *bytes as f64 / 1e6
        )
    }

    fn event(&self) -> Value {
        let Summary { base, steps, loss, best, done, bytes, config, .. } = &self.summary;
        json!({
            "event": "run", "name": self.name, "path": self.path, "base": base, "steps": steps,
            "max_steps": config["max_steps"], "loss": loss, "best_step": best.map(|(step, _)| step),
            "best_loss": best.map(|(_, loss)| loss), "done": done, "bytes": bytes, "config": config,
        })
    }
}

/// A line for each setting that is not the same in all runs.
fn differences(runs: &[Run]) -> Vec<String> {
    let names = runs.iter().flat_map(|run| run.summary.config.as_object().into_iter().flatten().map(|(name, _)| name));
    let mut known: Vec<&String> = Vec::new();
    names.for_each(|name| {
        if !known.contains(&name) {
            known.push(name);
        }
    });
    let line = |name: &&String| {
        let values = runs.iter().map(|run| &run.summary.config[name.as_str()]);
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
