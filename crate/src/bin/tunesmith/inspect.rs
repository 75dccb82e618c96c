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
use tunesmith::settings::config::{Objective, Rows};
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
    let is_folder = path.is_dir();
    if is_folder && !path.join("config.json").is_file() {
        adapter(path, report)?;
    } else if is_folder || is_gguf(path)? {
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
        let in_4bit = if load_in_4bit { bytes_in_4bit(config.architecture, tensor)? } else { None };
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
    let objective = config.objective;
    let gguf = base::open(&base::path(matches, report)?)?;
    let positions = ModelConfig::from_gguf(&gguf)?.context_length;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = template(&gguf, &tokenizer)?;
    let set = Renderer::new(&tokenizer, template.as_ref(), positions, &config).render_all(&data.file, &data.examples);
    let shown = *matches.get_one::<u64>("rows").expect("it has a default") as usize;
    let shown = if report.json() { set.rows.len() } else { shown };
    for (line, sequences) in set.rows.iter().take(shown) {
        match &sequences[..] {
            [chosen, rejected] if objective.rows() == Rows::Pairs && report.json() => {
                report.object(&pair(*line, chosen, rejected, objective, &tokenizer))?;
            }
            [chosen, rejected] if objective.rows() == Rows::Pairs => {
                show(&format!("line {line}, chosen"), chosen, "compared", &tokenizer, report)?;
                show(&format!("line {line}, rejected"), rejected, "compared", &tokenizer, report)?;
            }
            single if report.json() => {
                single.iter().try_for_each(|sequence| report.object(&example(*line, sequence, &tokenizer)))?;
            }
            single => {
                for sequence in single {
                    let label = sequence.label.map_or("", |good| if good { ", good" } else { ", bad" });
                    show(&format!("line {line}{label}"), sequence, "learnt", &tokenizer, report)?;
                }
            }
        }
    }

    let sequences = || set.rows.iter().flat_map(|(_, sequences)| sequences);
    let (rows, cut) = (set.rows.len(), set.truncated().len());
    let tokens: usize = sequences().map(|sequence| sequence.ids.len()).sum();
    let targets: usize = sequences().map(Rendered::target_tokens).sum();
    let labelled = |good| sequences().filter(|sequence| sequence.label == Some(good)).count();
    let errors: Vec<Error> = data.errors.into_iter().chain(set.errors.iter().cloned()).collect();
    let all = rows + errors.len();
    if report.json() {
        let mut event = json!({
            "event": "dataset",
            "path": path,
            "objective": objective.name(),
            "examples": rows,
            "errors": errors.len(),
            "tokens": tokens,
            "target_tokens": targets,
            "truncated": cut,
        });
        match objective.rows() {
            Rows::Examples | Rows::Prompts => {}
            Rows::Pairs => event["pairs"] = rows.into(),
            Rows::Verdicts => (event["good"], event["bad"]) = (labelled(true).into(), labelled(false).into()),
        }
        report.object(&event)?;
    } else {
        let (what, learnt) = match objective.rows() {
            Rows::Examples | Rows::Prompts => (format!("examples {rows} (cut: {cut})"), "learnt"),
            Rows::Pairs => (format!("pairs {rows} (cut: {cut})"), "compared"),
            Rows::Verdicts => {
                let (good, bad) = (labelled(true), labelled(false));
                (format!("answers {} (good: {good}, bad: {bad}; cut: {cut})", good + bad), "learnt")
            }
        };
        report.line(&format!("{what}, tokens {tokens} ({learnt}: {targets})"))?;
    }
    data::tell(data.warnings.into_iter().chain(set.warnings), report)?;
    data::refuse(errors, all, &data.file, report)
}

/// The event of an example, or of a single answer with its label.
fn example(line: usize, rendered: &Rendered, tokenizer: &Tokenizer) -> Value {
    let mut event = json!({
        "event": "example",
        "line": line,
        "ids": rendered.ids,
        "targets": rendered.targets,
        "truncated": rendered.truncated,
        "pieces": rendered.pieces(tokenizer),
    });
    if let Some(label) = rendered.label {
        event["label"] = label.into();
    }
    event
}

/// The event of a pair: its ids as in a row of ids, and both sides in pieces.
fn pair(line: usize, chosen: &Rendered, rejected: &Rendered, objective: Objective, tokenizer: &Tokenizer) -> Value {
    let mut event = json!({
        "event": "example",
        "line": line,
        "prompt_ids": chosen.ids[..chosen.prompt_tokens()],
        "chosen_ids": chosen.ids[chosen.prompt_tokens()..],
        "rejected_ids": rejected.ids[rejected.prompt_tokens()..],
        "truncated": chosen.truncated || rejected.truncated,
        "chosen": chosen.pieces(tokenizer),
        "rejected": rejected.pieces(tokenizer),
    });
    if objective == Objective::Reward {
        event["margin"] = chosen.margin.into();
    }
    event
}

/// One sequence, with what is learnt marked: in colour on a terminal, else in double brackets.
fn show(title: &str, rendered: &Rendered, learnt: &str, tokenizer: &Tokenizer, report: &Report) -> Result<()> {
    let cut = if rendered.truncated { ", cut" } else { "" };
    let (tokens, targets) = (rendered.ids.len(), rendered.target_tokens());
    report.line(&format!("-- {title}: {tokens} tokens, {targets} of them {learnt}{cut}"))?;
    let (start, end) = if std::io::stdout().is_terminal() { ("\x1b[32m", "\x1b[0m") } else { ("[[", "]]") };
    let marked = rendered.pieces(tokenizer).into_iter().map(|piece| match piece.target {
        true => format!("{start}{}{end}", piece.text),
        false => piece.text,
    });
    report.line(&marked.collect::<String>())
}
