//! `tunesmith inspect`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::{Value, json};
use tunesmith::data::render::{Rendered, Renderer};
use tunesmith::format::gguf::Gguf;
use tunesmith::model::{ModelConfig, bytes_in_4bit};
use tunesmith::peft::io;
use tunesmith::text::template::ChatTemplate;
use tunesmith::text::tokenizer::Tokenizer;
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data};

/// Shows a model, an adapter or a dataset.
///
/// # Errors
/// For input that cannot be used; a dataset with bad rows is shown first.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let path = args::path(matches, "path").expect("a required argument");
    if path.is_dir() {
        adapter(path, report)?;
    } else if is_gguf(path)? {
        model(path, args::settings(matches)?.load_in_4bit, report)?;
    } else {
        dataset(path, matches, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// By its name or its first bytes.
fn is_gguf(path: &Path) -> Result<bool> {
    let error = |error| Error::io(path.display().to_string(), error);
    let mut start = Vec::new();
    File::open(path).map_err(error)?.take(4).read_to_end(&mut start).map_err(error)?;
    Ok(start == b"GGUF" || path.extension().is_some_and(|extension| extension == "gguf"))
}

/// What a model file says of its chat template.
fn template(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
    let has_one = gguf.get::<&str>("tokenizer.chat_template")?.is_some() || tokenizer.id("<|im_start|>").is_some();
    if has_one { ChatTemplate::from_gguf(gguf, tokenizer).map(Some) } else { Ok(None) }
}

fn model(path: &Path, load_in_4bit: bool, report: &mut Report) -> Result<()> {
    let gguf = base::open(path)?;
    let config = ModelConfig::from_gguf(&gguf)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = template(&gguf, &tokenizer)?;
    let mut types: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in gguf.tensors() {
        gguf.encoding(tensor)?;
        let in_4bit = if load_in_4bit { bytes_in_4bit(tensor)? } else { None };
        let (name, size) = in_4bit.map_or((tensor.ty.name(), tensor.bytes), |bytes| ("NF4", bytes));
        let (count, bytes) = types.entry(name).or_default();
        *count += 1;
        *bytes += size;
    }
    let parameters: u64 = gguf.tensors().iter().map(|tensor| tensor.elements()).sum();
    let source = gguf.get::<&str>("tokenizer.chat_template")?;
    if report.json() {
        let types: BTreeMap<_, _> =
            types.iter().map(|(name, (count, bytes))| (name, json!({ "tensors": count, "bytes": bytes }))).collect();
        return report.object(&json!({
            "event": "model",
            "path": path,
            "bytes": gguf.file_len(),
            "parameters": parameters,
            "types": types,
            "config": config,
            "template": source,
        }));
    }
    report.line(&format!("{} ({}), {:.1} MB", config.name, config.architecture, gguf.file_len() as f64 / 1e6))?;
    report.line(&format!("parameters  {parameters}"))?;
    for (name, (count, bytes)) in types {
        report.line(&format!("{name:<10}  {count} tensors, {:.1} MB", bytes as f64 / 1e6))?;
    }
    for (name, value) in json!(config).as_object().expect("a struct") {
        report.line(&format!("{name:<15}  {}", words(value)))?;
    }
    report.line(match (&template, source) {
        (_, Some(source)) => source,
        (Some(_), None) => "no chat template of its own; it has ChatML's tokens, so ChatML is used",
        (None, None) => "no chat template: conversations cannot be used with it",
    })
}

fn adapter(path: &Path, report: &mut Report) -> Result<()> {
    let adapter = Adapter::read(path)?;
    let run = io::run_config(&adapter.folder, &adapter.config)?;
    let config: Value = serde_json::from_slice(&adapter.config).expect("it was just read as JSON");
    let tensors = io::describe(&adapter.folder, &adapter.tensors)?;
    let parameters: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    if report.json() {
        let tensors: Vec<Value> = tensors.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
        return report.object(&json!({
            "event": "adapter",
            "path": path,
            "parameters": parameters,
            "config": config,
            "tensors": tensors,
        }));
    }
    report.line(&format!("{} adapter, {} tensors, {parameters} parameters", run.method.name(), tensors.len()))?;
    for (name, value) in config.as_object().into_iter().flatten() {
        report.line(&format!("{name:<26}  {}", words(value)))?;
    }
    let shown = |(name, shape): &(String, Vec<usize>)| report.line(&format!("{shape:>12?}  {name}"));
    tensors.iter().try_for_each(shown)
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn dataset(path: &Path, matches: &ArgMatches, report: &mut Report) -> Result<()> {
    let config = args::settings(matches)?;
    let data = data::read(path)?;
    let gguf = base::open(&base::path(matches, report)?)?;
    let positions = ModelConfig::from_gguf(&gguf)?.context_length;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = template(&gguf, &tokenizer)?;
    let renderer = Renderer::new(&tokenizer, template.as_ref(), positions, &config);
    let rows = *matches.get_one::<u64>("rows").expect("it has a default") as usize;
    let mut errors = data.errors;
    let all = data.examples.len() + errors.len();
    let (mut good, mut tokens, mut targets, mut cut) = (0, 0, 0, 0);
    for (line, example) in &data.examples {
        match renderer.render(&data.file, *line, example) {
            Ok(sequences) => {
                for rendered in &sequences {
                    if report.json() || good < rows {
                        show(*line, rendered, &tokenizer, report)?;
                    }
                    tokens += rendered.ids.len();
                    targets += rendered.target_tokens();
                }
                good += 1;
                cut += usize::from(sequences.iter().any(|rendered| rendered.truncated));
            }
            Err(error) => errors.push(error),
        }
    }
    if report.json() {
        report.object(&json!({
            "event": "dataset",
            "path": path,
            "examples": good,
            "errors": errors.len(),
            "tokens": tokens,
            "target_tokens": targets,
            "truncated": cut,
        }))?;
    } else {
        report.line(&format!("examples {good} (cut: {cut}), tokens {tokens} (learnt: {targets})"))?;
    }
    data::refuse(errors, all, &data.file, report)
}

/// One example, with what is learnt marked: in colour on a terminal, else in double brackets.
fn show(line: usize, rendered: &Rendered, tokenizer: &Tokenizer, report: &Report) -> Result<()> {
    let pieces = rendered.pieces(tokenizer);
    if report.json() {
        return report.object(&json!({
            "event": "example",
            "line": line,
            "ids": rendered.ids,
            "targets": rendered.targets,
            "truncated": rendered.truncated,
            "pieces": pieces,
        }));
    }
    let cut = if rendered.truncated { ", cut" } else { "" };
    report.line(&format!(
        "-- line {line}: {} tokens, {} of them learnt{cut}",
        rendered.ids.len(),
        rendered.target_tokens()
    ))?;
    let (start, end) = if std::io::stdout().is_terminal() { ("\x1b[32m", "\x1b[0m") } else { ("[[", "]]") };
    let marked = pieces.iter().map(|piece| match piece.target {
        true => format!("{start}{}{end}", piece.text),
        false => piece.text.clone(),
    });
    report.line(&marked.collect::<String>())
}
