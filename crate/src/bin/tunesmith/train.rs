//! `tunesmith train`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Value, json};
use tunesmith::data::rollouts::RolloutRow;
use tunesmith::model::Model;
use tunesmith::objective;
use tunesmith::peft::io::{self, File};
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::train::{Event, Trainer};
use tunesmith::{Error, Result};

use super::adapter::{Adapter, REFERENCE};
use super::lesson::Files;
use super::report::Report;
use super::run_folder::{RunFolder, pretty};
use super::spill::TempFile;
use super::sums::STATE;
use super::{args, base, forms, interrupt, profile, rewards};

/// Trains an adapter.
///
/// # Errors
/// For input that cannot be used, a folder that cannot be written, a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let asked = asked(matches)?;
    let out = args::path(matches, "out").expect("a required flag");
    let resume = matches.get_flag("resume");
    let (mut folder, mut config) = if resume {
        let (folder, config) = RunFolder::of_run(out)?;
        agree(&asked, &config)?;
        (folder, config)
    } else {
        (RunFolder::for_new_run(out)?, asked.clone())
    };
    let checkpoint = if resume {
        let (checkpoint, damaged) = folder.newest_checkpoint()?;
        for what in damaged {
            let message = format!("{what}; the run goes on from {}", checkpoint.display());
            report.event(&Event::Warning { code: "checkpoint", message })?;
        }
        Some(checkpoint)
    } else {
        None
    };
    // A resumed run has its weights already.
    let init = args::path(matches, "init-adapter").filter(|_| !resume);
    let init = init.map(|folder| Adapter::read(folder)).transpose()?;
    let files = Files::read(matches, &config, report)?;

    let model = Rc::new(base::load(matches, &config, report)?);
    if let Some(adapter) = &init {
        config = adapter.settings(&asked, &model)?;
    }
    config.validate()?;
    objective::create(&config)?;
    let lesson = files.render(&model, &config, report)?;
    let peft = fresh(&model, &config, init.as_ref())?;
    let judge = base::judge(matches, report)?;
    let mut trainer = lesson.trainer(&model, peft, &config, rewards::create(&config, &model, judge.as_ref())?)?;
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
        trainer.resume(&checkpoint.display().to_string(), |name| {
            let path = checkpoint.join(name);
            std::fs::read(&path).map_err(|error| Error::io(path.display().to_string(), error))
        })?;
    }

    if trainer.has_trunk() {
        trainer.spill_to(Box::new(TempFile::new()?));
    }
    report.start_bar(1, "Trying kernels on this GPU, once {bar:24} {pos}/{len}");
    let tuned = block_on(trainer.tune(|done, total| report.move_bar(done as u64, total as u64)))?;
    report.end_bar();
    if tuned {
        forms::keep(&model.context, report);
    }
    interrupt::listen()?;
    let begun = folder.begin(trainer.config(), trainer.steps_done()).and_then(|()| match reference {
        Some(Adapter { config, tensors, .. }) if !resume => {
            let file = |name, bytes| File { name, bytes };
            folder.write_reference(&[file(io::TENSORS, tensors), file(io::CONFIG, config)])
        }
        _ => Ok(()),
    });
    let outcome = begun.and_then(|()| steps(&mut trainer, &mut folder, report)).and_then(|stopped| {
        if matches.get_flag("profile") {
            report.end_bar();
            report.say(&profile::line(&model.context, trainer.stats()));
        }
        if stopped {
            return Ok(interrupt::code());
        }
        finish(&mut trainer, &model, &folder)?;
        report.event(&trainer.done_event(&folder.name()))?;
        Ok(ExitCode::SUCCESS)
    });
    outcome.map_err(|error| {
        let error = match error {
            Error::NonFinite { step, tensor, help } => {
                Error::NonFinite { step, tensor, help: format!("{help}; {}", folder.kept()) }
            }
            other => other,
        };
        folder.abandon();
        error
    })
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
fn agree(asked: &RunConfig, run: &RunConfig) -> Result<()> {
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
fn steps(trainer: &mut Trainer, folder: &mut RunFolder, report: &mut Report) -> Result<bool> {
    report.event(&trainer.start_event())?;
    let steps = usize::try_from(trainer.config().max_steps).unwrap_or_default();
    let every = trainer.config().save_steps as usize;
    report.start_steps(trainer.steps_done(), steps);
    let mut stopped = false;
    while !trainer.is_done() && !stopped {
        let events = block_on(trainer.step())?;
        tell(events, folder, report)?;
        let done = trainer.steps_done();
        report.move_bar(done as u64, steps as u64);
        let due = every > 0 && done.is_multiple_of(every);
        stopped = interrupt::asked();
        if due || stopped || trainer.is_done() {
            let events = block_on(trainer.flush())?;
            tell(events, folder, report)?;
            let mut files = block_on(trainer.checkpoint())?;
            files.push(File { name: STATE, bytes: pretty(&trainer_state(trainer, folder.lines())).into_bytes() });
            let path = folder.write_checkpoint(done, &files)?.display().to_string();
            report.event(&Event::Checkpoint { step: done, path })?;
            let best = trainer.best().filter(|_| trainer.config().load_best_model_at_end);
            folder.limit_checkpoints(trainer.config().save_total_limit as usize, best.map(|best| best.step))?;
        }
    }
    report.end_bar();
    Ok(!trainer.is_done())
}

fn tell(events: Vec<Event>, folder: &mut RunFolder, report: &mut Report) -> Result<()> {
    for event in events {
        folder.record(&event)?;
        report.event(&event)?;
    }
    Ok(())
}

/// Writes what a finished run leaves beside its settings and metrics.
fn finish(trainer: &mut Trainer, model: &Model, folder: &RunFolder) -> Result<()> {
    folder.write(STATE, pretty(&trainer_state(trainer, folder.lines())).as_bytes())?;
    trainer.take_best();
    let mut files = block_on(io::save(trainer.peft().as_ref(), model, Some(trainer.config())))?;
    // Whoever finds the config finds the tensors, too.
    files.sort_by_key(|file| file.name == io::CONFIG);
    files.iter().try_for_each(|file| folder.write(file.name, &file.bytes))
}

/// The metrics as the transformers library's `TrainerState`.
fn trainer_state(trainer: &Trainer, lines: &[Value]) -> Value {
    let config = trainer.config();
    let epoch = |step: f64| step / trainer.steps_per_epoch() as f64;
    let entry = |line: &Value| {
        let epoch = epoch(line["step"].as_f64().unwrap_or_default());
        let (prefix, mut entry) = match line["event"].as_str() {
            Some("eval") => ("eval_", json!({ "epoch": epoch, "eval_loss": line["loss"], "step": line["step"] })),
            _ => (
                "",
                json!({
                    "epoch": epoch,
                    "grad_norm": line["grad_norm"],
                    "learning_rate": line["learning_rate"],
                    "loss": line["loss"],
                    "step": line["step"],
                }),
            ),
        };
        for (name, value) in line["metrics"].as_object().into_iter().flatten() {
            entry[format!("{prefix}{name}")] = value.clone();
        }
        entry
    };
    json!({
        "epoch": epoch(trainer.steps_done() as f64),
        "global_step": trainer.steps_done(),
        "best_metric": trainer.best().map(|best| best.value),
        "best_global_step": trainer.best().map(|best| best.step),
        "max_steps": config.max_steps,
        "num_train_epochs": epoch(f64::from(config.max_steps)).ceil(),
        "train_batch_size": config.per_device_train_batch_size,
        "logging_steps": config.logging_steps,
        "eval_steps": config.eval_steps,
        "save_steps": config.save_steps,
        "log_history": lines.iter().map(entry).collect::<Vec<_>>(),
    })
}
