//! `tunesmith lab`

use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Value, json};
use tunesmith::model::Model;
use tunesmith::settings::config::RunConfig;
use tunesmith::train::lab::{self, Lab, Progress, Row, Stage};
use tunesmith::{Error, Result};

use super::report::Report;
use super::{args, base, data, train};

/// Steps of each method, where neither steps nor epochs are given.
const STEPS: &str = "40";

/// Trains several methods on the same data and prints one table.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let mut asked = train::asked(matches)?;
    if !asked.given().any(|field| ["max_steps", "num_train_epochs"].contains(&field)) {
        asked.set("max_steps", STEPS)?;
    }
    if asked.given().any(|field| field == "method") {
        return Err(Error::Config {
            field: "method".into(),
            what: "a lab tries several methods".into(),
            help: "give them with --methods, separated by commas".into(),
        });
    }
    let names = match matches.get_one::<String>("methods") {
        Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
        None => lab::names(asked.load_in_4bit).into_iter().map(str::to_owned).collect::<Vec<_>>(),
    };
    // Every name is checked before the first run.
    let configs = names.iter().map(|name| config(&asked, name)).collect::<Result<Vec<_>>>()?;
    let examples = data::read(args::path(matches, "data").expect("a required flag"))?;
    let held_out = args::path(matches, "eval-data").map(|path| data::read(path)).transpose()?;
    let file = examples.file.clone();
    let model = Rc::new(base::load(matches, &asked, report)?);
    let examples = data::render(examples, &model, &asked, report)?;
    let held_out = held_out.map(|held_out| data::render(held_out, &model, &asked, report)).transpose()?;
    let mut lab = Lab::new(model.clone(), &file, examples, held_out)?;
    let mut rows = Vec::new();
    for (name, config) in names.iter().zip(&configs) {
        let outcome = row(&mut lab, name, config, report);
        report.end_bar();
        // A device that failed would fail the others, too.
        model.context.check()?;
        match outcome {
            Ok(row) => {
                if report.json() {
                    report.object(&event(json!(row)))?;
                } else {
                    report.say(&format!("{name}: held-out loss {:.3} to {:.3}", row.loss_before, row.loss_after));
                }
                rows.push(row);
            }
            Err(error) if report.json() => {
                let words = json!({ "code": error.code(), "message": error.to_string(), "hint": error.help() });
                report.object(&event(json!({ "method": name, "error": words })))?;
            }
            Err(error) => report.say(&format!("{name} failed: {error}\n  {}", error.help())),
        }
    }
    if !report.json() && !rows.is_empty() {
        report.line(&table(&rows, &model, &lab, &asked))?;
    }
    Ok(if rows.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Drives one method to its end.
fn row(lab: &mut Lab, name: &str, config: &RunConfig, report: &mut Report) -> Result<Row> {
    report.start_bar(1, &format!("{name} {{bar:24}} {{pos}}/{{len}}  {{eta}} left"));
    block_on(lab.begin(name, config, |_, _| ()))?;
    loop {
        let Progress { stage, done, all, row } = block_on(lab.advance())?;
        if let Some(row) = row {
            return Ok(row);
        }
        if stage == Stage::Train {
            report.move_bar(done as u64, all as u64);
        }
    }
}

/// The event of a method that ended, well or not.
fn event(fields: Value) -> Value {
    let mut object = json!({ "event": "trial" });
    object.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    object
}

/// The settings that were asked for, with the method's own defaults for the rest.
fn config(asked: &RunConfig, name: &str) -> Result<RunConfig> {
    let mut config = asked.clone();
    config.set("method", name)?;
    if config.load_in_4bit != asked.load_in_4bit {
        return Err(Error::Config {
            field: "methods".into(),
            what: format!("{name} wants the model in 4 bits, and a lab loads it once for all methods"),
            help: "give lora instead, and --load-in-4bit for all of them".into(),
        });
    }
    config.leave_out_foreign();
    config.validate()?;
    Ok(config)
}

/// Width of the longest bar.
const BAR: f64 = 20.0;

/// One row a method, and the held-out loss as a bar.
fn table(rows: &[Row], model: &Model, lab: &Lab, config: &RunConfig) -> String {
    let before = rows.first().map_or(0.0, |row| row.loss_before);
    let most = rows.iter().map(|row| row.loss_after).fold(before, f64::max);
    let bar = |loss: f64| "█".repeat((loss / most * BAR).round().max(1.0) as usize);
    let mut lines = vec![
        format!(
            "{} on {}: {} steps on {} examples; {} held out, whose loss was {before:.3} before.",
            model.config.name,
            model.context.info().name,
            config.max_steps,
            lab.examples().len(),
            lab.held_out().len(),
        ),
        String::new(),
        "| method | rate | trainable | file, MB | seconds | GPU, MB | held-out loss | exact | |".into(),
        "|---|---|---|---|---|---|---|---|---|".into(),
    ];
    for t in rows {
        let mb = |bytes: f64| bytes / 1e6;
        lines.push(format!(
            "| {} | {:.0e} | {} | {:.2} | {:.0} | {:.0} | {:.3} | {} of {} | {} |",
            t.method,
            t.learning_rate,
            t.trainable,
            mb(t.file_bytes as f64),
            t.seconds,
            mb(t.peak_bytes as f64),
            t.loss_after,
            t.exact,
            t.answers,
            bar(t.loss_after)
        ));
    }
    lines.join("\n")
}
