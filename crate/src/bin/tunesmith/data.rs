//! A data file: every bad row is told before the run ends, and none is left out in silence.

use std::path::Path;

use tunesmith::data::example::Example;
use tunesmith::data::import::import_jsonl;
use tunesmith::data::prompts::{PromptRow, import_prompts};
use tunesmith::data::render::{Rendered, Renderer};
use tunesmith::data::warning::Warning;
use tunesmith::model::Model;
use tunesmith::settings::config::RunConfig;
use tunesmith::train::Event;
use tunesmith::{Error, Result};

use super::report::Report;

/// Rows that are told one by one.
const TOLD: usize = 10;

/// A data file as it was read.
pub struct Data {
    /// Its name, for messages.
    pub file: String,
    /// Examples in file order, each with its line.
    pub examples: Vec<(usize, Example)>,
    /// What a person should know about them.
    pub warnings: Vec<Warning>,
    /// What is wrong with the other rows.
    pub errors: Vec<Error>,
}

/// Reads a data file.
///
/// # Errors
/// As [`text`]. Rows have their own errors.
pub fn read(path: &Path) -> Result<Data> {
    text(path).map(|(file, text)| import(&file, &text))
}

/// The rows of a text; `file` is where it came from, for messages.
pub fn import(file: &str, text: &str) -> Data {
    let import = import_jsonl(file, text);
    Data { file: file.into(), examples: import.examples, warnings: import.warnings, errors: import.errors }
}

/// Reads the prompts of a file.
///
/// # Errors
/// As [`text`], and when any row is no prompt, after telling which and why.
pub fn prompts(path: &Path, report: &mut Report) -> Result<Vec<PromptRow>> {
    let (file, text) = text(path)?;
    let (prompts, errors) = import_prompts(&file, &text);
    let rows = prompts.len() + errors.len();
    refuse(errors, rows, &file, report)?;
    Ok(prompts)
}

/// A file's name, for messages, and its text.
///
/// # Errors
/// For a file that cannot be read or is not UTF-8.
pub fn text(path: &Path) -> Result<(String, String)> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Error::io(&file, error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Error::Data {
            file: file.clone(),
            line: Some(good.iter().filter(|&&byte| byte == b'\n').count() + 1),
            what: "this is not UTF-8 text".into(),
            help: "save the file as UTF-8, one JSON object a line".into(),
        }
    })?;
    Ok((file, text))
}

/// Renders every row for a model; truncated ones are told in warnings. Sequences that are compared stand side by side.
///
/// # Errors
/// When any row cannot be used, after telling which and why.
pub fn render(data: Data, model: &Model, config: &RunConfig, report: &mut Report) -> Result<Vec<Rendered>> {
    let positions = model.config.context_length;
    let renderer = Renderer::new(&model.tokenizer, model.template.as_deref(), positions, config);
    let Data { file, examples, warnings, mut errors } = data;
    let rows = examples.len() + errors.len();
    let mut set = renderer.render_all(&file, &examples);
    tell(warnings.into_iter().chain(std::mem::take(&mut set.warnings)), report)?;
    errors.append(&mut set.errors);
    refuse(errors, rows, &file, report)?;
    let cut = set.truncated();
    let warn = |message| Event::Warning { code: "truncated", message };
    for line in cut.iter().take(TOLD) {
        let max = renderer.max_length;
        report.event(&warn(format!("{file}, line {line}: cut to {max} tokens; raise --max-length to keep all")))?;
    }
    if cut.len() > TOLD {
        report.event(&warn(format!("{file}: {} more examples were cut", cut.len() - TOLD)))?;
    }
    Ok(set.into_sequences())
}

/// Tells what a person should know about a data set.
///
/// # Errors
/// When nobody reads standard output any more.
pub fn tell(warnings: impl IntoIterator<Item = Warning>, report: &mut Report) -> Result<()> {
    let event = |Warning { code, message }| Event::Warning { code, message };
    warnings.into_iter().try_for_each(|warning| report.event(&event(warning)))
}

/// Fails when there are bad rows: one is the error itself; several are told one by one, and the error sums them up.
///
/// # Errors
/// When there are any.
pub fn refuse(mut errors: Vec<Error>, rows: usize, file: &str, report: &mut Report) -> Result<()> {
    errors.sort_by_key(|error| match error {
        Error::Data { line, .. } => *line,
        _ => None,
    });
    if errors.len() < 2 {
        return errors.pop().map_or(Ok(()), Err);
    }
    let mut told: Vec<String> = errors.iter().take(TOLD).map(|error| format!("{error}; {}", error.help())).collect();
    if errors.len() > TOLD {
        told.push(format!("and {} more", errors.len() - TOLD));
    }
    for message in told {
        report.say(&message);
        if report.json() {
            report.event(&Event::Warning { code: "data", message })?;
        }
    }
    Err(Error::Data {
        file: file.into(),
        line: None,
        what: format!("{} of {rows} rows cannot be used", errors.len()),
        help: "correct the lines above or take them out".into(),
    })
}
