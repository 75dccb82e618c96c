//! `tunesmith eval`

use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::peft::{Peft, io};
use tunesmith::settings::config::{Objective, Rows};
use tunesmith::train::{Comparison, Event, at_once, evaluate};
use tunesmith::{Error, Result};

use super::adapter::{Adapter, REFERENCE};
use super::report::Report;
use super::{args, base, data};

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
    if config.objective.rows() == Rows::Prompts {
        return Err(Error::Config {
            field: "objective".into(),
            what: format!(
                "{} has the model write its answers, so there is no loss of given ones",
                config.objective.name()
            ),
            help: "give held-out prompts to train as --eval-data, or measure another objective".into(),
        });
    }
    let data = data::read(args::path(matches, "data").expect("a required flag"))?;
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
        for (name, value) in &metrics {
            report.line(&format!("{name:>22}  {:>10.4}", value.as_f64().unwrap_or_default()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
