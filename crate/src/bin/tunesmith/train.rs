//! `tunesmith train`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::Map;
use tunesmith::clock::now_ms;
use tunesmith::data::rollouts::RolloutRow;
use tunesmith::model::Model;
use tunesmith::objective;
use tunesmith::peft::{self, Peft, io};
use tunesmith::record::{About, Checkpoint, REFERENCE, Record, RowsHash, sha256};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::train::{Event, Trainer, fitting};
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::lesson::Files;
use super::report::Report;
use super::run_folder::RunFolder;
use super::spill::TempFile;
use super::{args, base, forms, interrupt, profile, rewards};

/// Trains an adapter.
///
/// # Errors
/// For input that cannot be used, a folder that cannot be written, a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let asked = asked(matches)?;
    let out = args::path(matches, "out").expect("a required flag");
    let resume = matches.get_flag("resume");
    let (mut record, mut config, checkpoint) = if resume {
        // What is not there is told before it is locked.
        block_on(Record::open(RunFolder::to_read(out)))?;
        let (mut record, config) = block_on(Record::open(RunFolder::of_run(out)?))?;
        agree(&asked, &config)?;
        let checkpoint = newest_checkpoint(&mut record, report)?;
        (record, config, Some(checkpoint))
    } else {
        (Record::new(RunFolder::for_new_run(out)?), asked.clone(), None)
    };
    // A resumed run has its weights already.
    let init = args::path(matches, "init-adapter").filter(|_| !resume);
    let init = init.map(|folder| Adapter::read(folder)).transpose()?;
    let files = Files::read(matches, &config, resume.then_some(out), report)?;

    let model = Rc::new(base::load(matches, &config, report)?);
    if let Some(adapter) = &init {
        config = adapter.settings(&asked, &model)?;
    }
    config.validate()?;
    objective::create(&config)?;
    let lesson = files.render(&model, &config, report)?;
    let judge = base::judge(matches, report)?;
    let make = async |config: &RunConfig| {
        let peft = fresh(&model, config, init.as_ref())?;
        let rewards = rewards::create(config, &model, judge.as_ref())?;
        let trainer = lesson.clone().trainer(&model, peft, config, rewards)?;
        report.start_bar(1, "Trying kernels on this GPU, once {bar:24} {pos}/{len}");
        let tuned = trainer.tune(|done, total| report.move_bar(done as u64, total as u64)).await?;
        report.end_bar();
        if tuned {
            forms::keep(&model.context, report);
        }
        Ok(trainer)
    };
    let (mut trainer, warnings) = block_on(fitting(&config, resume, make))?;
    warnings.iter().try_for_each(|event| report.event(event))?;
    if let (Some(path), Some(rollouts)) = (args::path(matches, "save-rollouts"), trainer.rollouts()) {
        rollouts.keep(rollouts_file(path, resume)?);
    }
    // Answers are compared with the adapter that the run began from; a resumed run finds it in its own folder.
    let kept = out.join(REFERENCE);
    let reference = match &init {
        None if resume && kept.is_dir() => Some(Adapter::read(&kept)?),
        None => None,
        Some(adapter) => Some(adapter.clone()),
    };
    let reference = reference.filter(|_| trainer.needs_reference());
    if let Some(adapter) = &reference {
        let peft = block_on(io::load(&model, &adapter.folder, &adapter.config, &adapter.tensors))?;
        trainer.refer_to(&Rc::from(peft));
    }
    if let Some(checkpoint) = checkpoint {
        checkpoint.restore(&mut trainer)?;
    }

    if trainer.has_trunk() {
        trainer.spill_to(Box::new(TempFile::new()?));
    }
    interrupt::listen()?;
    let rows = if resume { None } else { rows(matches)? };
    let begun = begin(&mut record, &trainer, rows, reference.filter(|_| !resume));
    let outcome = begun.and_then(|()| steps(&mut trainer, &mut record, report)).and_then(|stopped| {
        if matches.get_flag("profile") {
            report.end_bar();
            report.say(&profile::line(&model.context, trainer.stats()));
        }
        if stopped {
            return Ok(interrupt::code());
        }
        block_on(record.finish(&mut trainer))?;
        report.event(&trainer.done_event(&record.place()))?;
        Ok(ExitCode::SUCCESS)
    });
    outcome.map_err(|error| abandoned(record, error))
}

/// Why a run ended, with what is kept of it, where it went astray; a folder without anything worth keeping goes.
pub fn abandoned(record: Record<RunFolder>, error: Error) -> Error {
    let error = match error {
        Error::NonFinite { step, tensor, help } => {
            Error::NonFinite { step, tensor, help: format!("{help}; {}", block_on(record.kept())) }
        }
        other => other,
    };
    let is_empty = record.is_empty();
    record.into_store().abandon(is_empty);
    error
}

/// The checkpoint to go on from; what there is to say of it, and of newer ones, is told.
pub fn newest_checkpoint(record: &mut Record<RunFolder>, report: &mut Report) -> Result<Checkpoint> {
    let (checkpoint, remarks) = block_on(record.newest_checkpoint()).map_err(|error| match error {
        Error::Format { file, what, .. } => {
            let place = if record.store().is_free() { "this or another" } else { "another" };
            let often = "--save-steps sets how often one is written";
            Error::Format { file, what, help: format!("begin again without --resume, in {place} folder; {often}") }
        }
        other => other,
    })?;
    for what in remarks {
        let message = format!("{what}; the run goes on from {}", checkpoint.place);
        report.event(&Event::Warning { code: "checkpoint", message })?;
    }
    Ok(checkpoint)
}

/// The rows of a run, and those that are held out, as they lie in their files.
pub struct RowFiles {
    /// What is learnt.
    pub data: Vec<u8>,
    /// What is held out.
    pub held_out: Option<Vec<u8>>,
}

/// Reads those of a new run; there are none where recorded answers are given.
fn rows(matches: &ArgMatches) -> Result<Option<RowFiles>> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::io(path.display().to_string(), error));
    let Some(data) = args::path(matches, "data").map(read).transpose()? else { return Ok(None) };
    Ok(Some(RowFiles { data, held_out: args::path(matches, "eval-data").map(read).transpose()? }))
}

/// Makes the folder, and writes what is known of the run; `reference` is the adapter that a new one begins from and compares with.
pub fn begin(
    record: &mut Record<RunFolder>,
    trainer: &Trainer,
    rows: Option<RowFiles>,
    reference: Option<Adapter>,
) -> Result<()> {
    let is_new = trainer.steps_done() == 0;
    record.store().claim(is_new)?;
    let hash = rows
        .as_ref()
        .map(|RowFiles { data, held_out }| RowsHash { data: sha256(data), held_out: held_out.as_deref().map(sha256) });
    let about = is_new.then(|| About::new(trainer, now_ms(), hash, Map::new()));
    block_on(record.begin(trainer, about.as_ref()))?;
    if let Some(RowFiles { data, held_out }) = rows {
        block_on(record.write_rows(&data, held_out.as_deref()))?;
    }
    match reference {
        Some(Adapter { config, tensors, .. }) => block_on(record.write_reference(config, tensors)),
        None => Ok(()),
    }
}

/// Writes answers and what they earned into a file, as they come; a resumed run goes on at its end. The file is made with the
/// first of them, so that a run that gets nowhere leaves none.
fn rollouts_file(path: &Path, resume: bool) -> Result<impl FnMut(&RolloutRow) -> Result<()> + use<>> {
    let (path, name) = (path.to_owned(), path.display().to_string());
    if !resume && path.exists() {
        return Err(Error::io(&name, "it is there already, and nothing is overwritten"));
    }
    let mut file = None;
    Ok(move |row: &RolloutRow| {
        let failed = |error: std::io::Error| Error::io(&name, error);
        let file = match &mut file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?),
        };
        writeln!(file, "{}", serde_json::to_string(row).expect("plain values")).map_err(failed)
    })
}

/// The settings that were asked for: `--config`, and flags, which win over it.
///
/// # Errors
/// For a file that is no run config, or a value that a field does not take.
pub fn asked(matches: &ArgMatches) -> Result<RunConfig> {
    let mut asked = match args::path(matches, "config") {
        Some(path) => read_config(path)?,
        None => RunConfig::new(Method::Lora),
    };
    args::apply(matches, &mut asked)?;
    Ok(asked)
}

fn read_config(path: &Path) -> Result<RunConfig> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(&name, error))?;
    RunConfig::from_json(&text).map_err(|error| match error {
        Error::Format { what, help, .. } => Error::Format { file: name, what, help },
        other => other,
    })
}

/// A resumed run keeps its settings.
pub fn agree(asked: &RunConfig, run: &RunConfig) -> Result<()> {
    let (wanted, own) = (asked.to_json(), run.to_json());
    for field in asked.given() {
        // The run's own file has the number that -1 came to.
        let by_epochs = field == "max_steps" && asked.max_steps < 0;
        if wanted[field] != own[field] && !by_epochs {
            return Err(Error::Config {
                field: field.into(),
                what: format!("{} was asked for, and the run to resume has {}", wanted[field], own[field]),
                help: "leave it out; for other settings begin a new run with --init-adapter".into(),
            });
        }
    }
    Ok(())
}

fn fresh(model: &Model, config: &RunConfig, init: Option<&Adapter>) -> Result<Rc<dyn Peft>> {
    let peft = block_on(peft::create(model, config))?;
    if let Some(adapter) = init {
        io::fill(peft.as_ref(), &adapter.folder, &adapter.tensors)?;
    }
    Ok(peft.into())
}

/// Trains to the end, or (then it says true) until Ctrl-C.
pub fn steps(trainer: &mut Trainer, record: &mut Record<RunFolder>, report: &mut Report) -> Result<bool> {
    report.event(&trainer.start_event())?;
    let steps = usize::try_from(trainer.config().max_steps).unwrap_or_default();
    let (every, limit) = (trainer.config().save_steps as usize, trainer.config().save_total_limit as usize);
    report.start_steps(trainer.steps_done(), steps);
    let mut stopped = false;
    while !trainer.is_done() && !stopped {
        let events = block_on(trainer.step())?;
        tell(events, record, report)?;
        let done = trainer.steps_done();
        report.move_bar(done as u64, steps as u64);
        let due = every > 0 && done.is_multiple_of(every);
        stopped = interrupt::asked();
        if due || stopped || trainer.is_done() {
            let events = block_on(trainer.flush())?;
            tell(events, record, report)?;
            let path = block_on(record.checkpoint(trainer, limit))?;
            report.event(&Event::Checkpoint { step: done, path })?;
        }
    }
    report.end_bar();
    Ok(!trainer.is_done())
}

fn tell(events: Vec<Event>, record: &mut Record<RunFolder>, report: &mut Report) -> Result<()> {
    for event in events {
        block_on(record.tell(&event))?;
        report.event(&event)?;
    }
    Ok(())
}
