//! `tunesmith pretrain`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Map, json};
use tunesmith::data::render::Rendered;
use tunesmith::data::windows::{documents, hold_out, windows};
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::MemorySource;
use tunesmith::model::fresh::Shape;
use tunesmith::model::{Model, config_json, tokenizer_config_json};
use tunesmith::peft::merge::{Merge, OutType};
use tunesmith::peft::{self, io};
use tunesmith::record::{HELD_OUT, ROWS, Record};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::text::tokenizer::Tokenizer;
use tunesmith::text::vocabulary::Vocabulary;
use tunesmith::train::{Question, Trainer, fitting};
use tunesmith::{Error, Result};

use super::report::Report;
use super::run_folder::RunFolder;
use super::train::{self, RowFiles};
use super::{args, base, data, forms, interrupt, merge, profile};

/// The fresh model that a run begins from.
const FRESH: &str = "fresh.gguf";
/// The run itself.
const RUN: &str = "run";
/// What came of it, as one file and as transformers' folder.
const MODEL: &str = "model.gguf";
const FOLDER: &str = "model";

/// What differs from fine-tuning, after llama2.c and nanoGPT.
const DEFAULTS: [(&str, &str); 10] = [
    ("method", "full"),
    ("per_device_train_batch_size", "4"),
    ("gradient_accumulation_steps", "1"),
    ("lr_scheduler_type", "cosine"),
    ("warmup_steps", "0.05"),
    ("weight_decay", "0.1"),
    ("adam_beta2", "0.95"),
    ("max_length", "256"),
    ("eval_steps", "100"),
    ("samples", "2"),
];

/// Tokens of a sample's beginning.
const BEGINNING: usize = 8;
/// Tokens for each parameter that are enough text, by experience.
const ENOUGH: f64 = 12.0;

/// Trains a model from nothing.
///
/// # Errors
/// For input that cannot be used, a folder that cannot be written, a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let out = args::path(matches, "out").expect("a required flag");
    let mut asked = RunConfig::new(Method::Full);
    DEFAULTS.iter().try_for_each(|(field, value)| asked.set(field, value))?;
    let shape = Shape::named(matches.get_one::<String>("shape").expect("it has a default"))?;
    asked.set("learning_rate", &shape.learning_rate.to_string())?;
    args::apply(matches, &mut asked)?;
    let resume = matches.get_flag("resume");
    let folder = out.join(RUN);
    let start = if resume { Start::read(out)? } else { Start::new(matches, &asked, shape, out, report)? };
    let (mut record, config, checkpoint) = if resume {
        block_on(Record::open(RunFolder::to_read(&folder)))?;
        let (mut record, config) = block_on(Record::open(RunFolder::of_run(&folder)?))?;
        let mut given = RunConfig::new(Method::Full);
        args::apply(matches, &mut given)?;
        train::agree(&given, &config)?;
        let checkpoint = train::newest_checkpoint(&mut record, report)?;
        (record, config, Some(checkpoint))
    } else {
        (Record::new(RunFolder::for_new_run(&folder)?), asked, None)
    };
    config.validate()?;
    let gguf = Gguf::open(Box::new(MemorySource::new(FRESH, start.model.clone())))?;
    let model = Rc::new(base::load_gguf(&gguf, &config, report)?);
    let [learnt, held_out] = [(ROWS, &start.rows), (HELD_OUT, &start.held_out)].map(|(name, rows)| match &rows[..] {
        "" if name == HELD_OUT => Ok(Vec::new()),
        rows => data::render(data::import(name, rows), &model, &config, report),
    });
    let (learnt, held_out) = (learnt?, held_out?);
    if !resume {
        tell_share(&learnt, &model, report);
    }
    let samples = samples(&model, &config, if held_out.is_empty() { &learnt } else { &held_out });
    let bytes = held_out.iter().map(|window| bytes_of(window, &model.tokenizer)).sum();
    let make = async |config: &RunConfig| {
        let peft = peft::create(&model, config).await?;
        let mut trainer = Trainer::new(model.clone(), peft.into(), config, learnt.clone(), held_out.clone())?;
        trainer.ask_along(samples.clone());
        trainer.count_bytes(bytes);
        if trainer.tune(|_, _| {}).await? {
            forms::keep(&model.context, report);
        }
        Ok(trainer)
    };
    let (mut trainer, warnings) = block_on(fitting(&config, resume, make))?;
    warnings.iter().try_for_each(|event| report.event(event))?;
    if let Some(checkpoint) = checkpoint {
        checkpoint.restore(&mut trainer)?;
    }
    interrupt::listen()?;
    if !resume {
        start.write(out)?;
    }
    let held_out = (!start.held_out.is_empty()).then(|| start.held_out.into_bytes());
    let rows = RowFiles { data: start.rows.into_bytes(), held_out };
    let begun = train::begin(&mut record, &trainer, (!resume).then_some(rows), None);
    let outcome = begun.and_then(|()| train::steps(&mut trainer, &mut record, report)).and_then(|stopped| {
        if matches.get_flag("profile") {
            report.end_bar();
            report.say(&profile::line(&model.context, trainer.stats()));
        }
        if stopped {
            return Ok(interrupt::code());
        }
        block_on(record.finish(&mut trainer))?;
        write_model(&gguf, &model, &trainer, out, report)?;
        // What people are told of a run speaks of its adapter.
        if report.json() {
            report.event(&trainer.done_event(&out.display().to_string()))?;
        }
        Ok(ExitCode::SUCCESS)
    });
    outcome.map_err(|error| train::abandoned(record, error))
}

/// What a run begins from.
struct Start {
    /// The fresh model, as a GGUF file.
    model: Vec<u8>,
    /// The windows that are learnt, and those that are held out, as JSONL.
    rows: String,
    held_out: String,
}

impl Start {
    /// That of a new run, which is nowhere yet.
    fn new(matches: &ArgMatches, config: &RunConfig, shape: Shape, out: &Path, report: &mut Report) -> Result<Self> {
        if let Some(name) = [RUN, MODEL, FOLDER].into_iter().find(|name| out.join(name).exists()) {
            return Err(taken(out, name));
        }
        let mut texts = Vec::new();
        for path in matches.get_many::<PathBuf>("data").into_iter().flatten() {
            for path in files(path)? {
                let (name, text) = data::text(&path)?;
                texts.extend(documents(&name, text)?);
            }
        }
        let share = f64::from(*matches.get_one::<f32>("held-out").expect("it has a default"));
        let [learnt, held_out] = hold_out(texts, share);
        if learnt.is_empty() {
            return Err(Error::Config {
                field: "data".into(),
                what: "there is no text in it".into(),
                help: "give text files, folders of .txt, .md and .jsonl files, or JSONL with a text in each row".into(),
            });
        }
        let (metadata, vocab) = match args::path(matches, "tokenizer") {
            Some(path) => {
                let gguf = base::open(path)?;
                let of_tokenizer = gguf.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer."));
                let metadata = of_tokenizer.map(|(key, value)| (key.clone(), value.clone())).collect();
                (metadata, Tokenizer::from_gguf(&gguf)?.vocab_size())
            }
            None => {
                report.say("Learning the tokenizer");
                let size = *matches.get_one::<u32>("vocab-size").expect("it has a default") as usize;
                let vocabulary = Vocabulary::learn(learnt.iter().map(String::as_str), size)?;
                (vocabulary.metadata(), vocabulary.tokens.len())
            }
        };
        let length = config.max_length as usize;
        let model = shape.gguf(metadata, vocab, length, config.seed).finish();
        let gguf = Gguf::open(Box::new(MemorySource::new(FRESH, model.clone())))?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let rows = windows(&tokenizer, &learnt, length, true)?;
        Ok(Self { model, rows, held_out: windows(&tokenizer, &held_out, length, false)? })
    }

    /// That of a run that is there already.
    fn read(out: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io(out.join(FRESH).display().to_string(), error);
        let model = std::fs::read(out.join(FRESH)).map_err(failed)?;
        let rows = |name: &str| data::text(&out.join(RUN).join(name)).map(|(_, text)| text);
        let held_out = if out.join(RUN).join(HELD_OUT).is_file() { rows(HELD_OUT)? } else { String::new() };
        Ok(Self { model, rows: rows(ROWS)?, held_out })
    }

    /// Writes the fresh model; the windows go into the run's own folder.
    fn write(&self, out: &Path) -> Result<()> {
        let path = out.join(FRESH);
        let failed = |error: std::io::Error| Error::io(path.display().to_string(), error);
        // One that was left by a run that got nowhere is the same, or somebody else's.
        if path.exists() && std::fs::read(&path).map_err(failed)? != self.model {
            return Err(taken(out, FRESH));
        }
        std::fs::create_dir_all(out).map_err(failed)?;
        std::fs::write(&path, &self.model).map_err(failed)
    }
}

/// Nothing is overwritten.
fn taken(out: &Path, name: &str) -> Error {
    Error::Format {
        file: out.display().to_string(),
        what: format!("there is a {name} in this folder already, and a new run would overwrite it"),
        help: "give another --out, or continue the run that is there with --resume".into(),
    }
}

/// A file, or those of a folder and the folders in it, sorted by their names.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| Error::io(path.display().to_string(), error);
    let mut all = Vec::new();
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    for entry in entries {
        let is_text = entry.extension().is_some_and(|kind| ["txt", "md", "jsonl"].iter().any(|text| kind == *text));
        if entry.is_dir() {
            all.extend(files(&entry)?);
        } else if is_text {
            all.push(entry);
        }
    }
    Ok(all)
}

/// Tells how much text there is for the parameters.
fn tell_share(learnt: &[Rendered], model: &Model, report: &Report) {
    let tokens: usize = learnt.iter().map(|window| window.ids.len()).sum();
    let each = tokens as f64 / model.parameters as f64;
    let advice =
        if each < ENOUGH { format!("; {ENOUGH} are enough, and less is learnt by heart") } else { String::new() };
    report.say(&format!("{tokens} tokens to learn from, {each:.2} for each parameter{advice}"));
}

/// Bytes of text that the targets of a window stand for.
fn bytes_of(window: &Rendered, tokenizer: &Tokenizer) -> usize {
    let targets = window.ids.iter().zip(&window.targets).skip(1).filter(|(_, target)| **target);
    targets.map(|(&id, _)| tokenizer.bytes(id).len()).sum()
}

/// The beginnings of some windows, which the model goes on from.
fn samples(model: &Model, config: &RunConfig, windows: &[Rendered]) -> Vec<Question> {
    let step = windows.len() / (config.samples as usize).max(1);
    let chosen = windows.iter().step_by(step.max(1)).take(config.samples as usize);
    chosen
        .map(|window| {
            let ids = window.ids[..BEGINNING.min(window.ids.len())].to_vec();
            Question { text: model.tokenizer.decode(&ids), ids, columns: Map::new() }
        })
        .collect()
}

/// Writes what came of a run: a GGUF file, and a folder that transformers reads.
fn write_model(gguf: &Gguf, model: &Model, trainer: &Trainer, out: &Path, report: &mut Report) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(out.display().to_string(), error);
    let file = out.join(MODEL);
    // A run that was resumed after its end has them already, and they are the same.
    if !file.exists() {
        let merge = Merge::new(model, gguf, trainer.peft().as_ref(), OutType::F32)?;
        merge::write(&merge, &file, report)?;
    }
    let folder = out.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let text = |value| serde_json::to_string_pretty(&value).expect("plain values");
    let (config, tokenizer) = (&model.config, &model.tokenizer);
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_json()?).map_err(failed)?;
    std::fs::write(folder.join("tokenizer_config.json"), text(tokenizer_config_json(config, tokenizer)))
        .map_err(failed)?;
    std::fs::copy(out.join(RUN).join(io::TENSORS), folder.join("model.safetensors")).map_err(failed)?;
    // Whoever finds the config finds the rest, too.
    std::fs::write(folder.join("config.json"), text(config_json(config, tokenizer))).map_err(failed)?;
    if report.json() {
        report.object(&json!({ "event": "model", "path": file, "folder": folder }))?;
    } else {
        report.say(&format!("The model is in {}, and for transformers in {}", file.display(), folder.display()));
    }
    Ok(())
}
