//! `tunesmith eval`

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Map, Value};
use tunesmith::peft::{Peft, io};
use tunesmith::record::REFERENCE;
use tunesmith::settings::config::{Objective, Rows, RunConfig};
use tunesmith::train::{Comparison, Event, Rollouts, at_once, evaluate, questions};
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data, rewards};

/// Measures the loss of every example of a file, and what the objective measures beside it.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let mut config = args::settings(matches)?;
    let folder = args::path(matches, "adapter");
    let adapter = folder.map(|folder| Adapter::read(folder)).transpose()?;
    if let Some(adapter) = &adapter {
        let own = io::run_config(&adapter.folder, &adapter.config)?;
        config.set("method", own.method.name())?;
        if config.objective == Objective::Sft {
            config.set("objective", own.objective.name())?;
        }
    }
    config.validate()?;
    let path = args::path(matches, "data").expect("a required flag");
    if config.objective.rows() == Rows::Prompts {
        return earned(matches, &config, path, adapter.as_ref(), report);
    }
    let data = data::read(path)?;
    let model = base::load(matches, &config, report)?;
    let lines: Vec<usize> = data.examples.iter().map(|(line, _)| *line).collect();
    let examples = data::render(data, &model, &config, report)?;
    let peft = adapter.map(|adapter| adapter.load(&model, matches)).transpose()?;
    let event = match Comparison::new(&model, &config, examples.len())? {
        None => Event::eval(block_on(evaluate(&model, peft.as_deref(), &examples))?),
        Some(mut comparison) => {
            if let Some(reference) = folder.map(|folder| folder.join(REFERENCE)).filter(|folder| folder.is_dir()) {
                let reference: Rc<dyn Peft> = Adapter::read(&reference)?.load(&model, matches)?.into();
                comparison.refer_to(reference);
            }
            let peft = peft.as_deref();
            Event::compared(block_on(comparison.evaluate(&model, peft, &examples, at_once(&config)))?)
        }
    };
    if matches!(event, Event::Eval { loss: Some(loss), .. } if !loss.is_finite()) {
        return Err(Error::no_numbers(
            &folder.map_or_else(|| model.file.clone(), |folder| folder.display().to_string()),
        ));
    }
    if report.json() {
        report.event(&event)?;
    } else if let Event::Eval { loss: Some(loss), tokens, examples, metrics, .. } = event {
        // A pair that became two rows has no line for each.
        let by_line = config.objective.rows() != Rows::Verdicts || lines.len() == examples.len();
        report.line(if by_line { "  line      loss  tokens" } else { "   row      loss  tokens" })?;
        for (index, example) in examples.iter().enumerate() {
            let line = if by_line { lines[index] } else { index + 1 };
            report.line(&format!("{line:>6}  {:>8.4}  {:>6}", example.loss, example.tokens))?;
        }
        report.line(&format!("   all  {loss:>8.4}  {tokens:>6}"))?;
        told(&metrics, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the model answer each prompt of a file, and says what the answers earn.
fn earned(
    matches: &ArgMatches,
    config: &RunConfig,
    path: &Path,
    adapter: Option<&Adapter>,
    report: &mut Report,
) -> Result<ExitCode> {
    let rows = data::prompts(path, report)?;
    let name = path.display().to_string();
    rewards::check(config, &name, &rows)?;
    let model = Rc::new(base::load(matches, config, report)?);
    let (asked, errors) = questions(&model, config, &name, &rows);
    data::refuse(errors, rows.len(), &name, report)?;
    let judge = base::judge(matches, report)?;
    let peft = adapter.map(|adapter| adapter.load(&model, matches)).transpose()?;
    let rewards = rewards::create(config, &model, judge.as_ref())?;
    let mut rollouts = Rollouts::written(asked.clone(), asked, rewards)?;
    let event = block_on(rollouts.evaluate(&model, peft.as_deref(), config, 0))?;
    if report.json() {
        report.event(&event)?;
    } else if let Event::Eval { metrics, .. } = event {
        told(&metrics, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes each measure on a line.
fn told(metrics: &Map<String, Value>, report: &mut Report) -> Result<()> {
    metrics
        .iter()
        .try_for_each(|(name, value)| report.line(&format!("{name:>22}  {:>10.4}", value.as_f64().unwrap_or_default())))
}
