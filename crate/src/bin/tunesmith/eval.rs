//! `tunesmith eval`

use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::Result;
use tunesmith::train::{Event, evaluate};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data};

/// Measures the loss of every example of a file.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let config = args::settings(matches)?;
    let adapter = args::path(matches, "adapter").map(|folder| Adapter::read(folder)).transpose()?;
    let data = data::read(args::path(matches, "data").expect("a required flag"))?;
    let model = base::load(matches, &config, report)?;
    let lines: Vec<usize> = data.examples.iter().map(|(line, _)| *line).collect();
    let examples = data::render(data, &model, &config, report)?;
    let peft = adapter.map(|adapter| adapter.load(&model, matches)).transpose()?;
    let event = Event::eval(block_on(evaluate(&model, peft.as_deref(), &examples))?);
    if report.json() {
        report.event(&event)?;
    } else if let Event::Eval { loss, tokens, examples, .. } = event {
        report.line("  line      loss  tokens")?;
        for (line, example) in lines.iter().zip(&examples) {
            report.line(&format!("{line:>6}  {:>8.4}  {:>6}", example.loss, example.tokens))?;
        }
        report.line(&format!("   all  {loss:>8.4}  {tokens:>6}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
