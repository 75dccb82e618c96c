//! `tunesmith score`

use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::data::render::Rendered;
use tunesmith::peft::io;
use tunesmith::settings::config::Objective;
use tunesmith::train::{Event, Score, prepare_for_scores, scores};
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data};

/// Scores every answer of a file: both of a pair.
///
/// # Errors
/// For an adapter that scores nothing, input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let adapter = Adapter::read(args::path(matches, "adapter").expect("a required flag"))?;
    let own = io::run_config(&adapter.folder, &adapter.config)?;
    if own.objective != Objective::Reward {
        return Err(Error::Adapter {
            file: adapter.folder,
            what: "this adapter has no score head".into(),
            help: "train one with --objective reward, or ask this one with `tunesmith generate`".into(),
        });
    }
    let mut config = args::settings(matches)?;
    config.set("method", own.method.name())?;
    config.set("objective", own.objective.name())?;
    let data = data::read(args::path(matches, "data").expect("a required flag"))?;
    let model = base::load(matches, &config, report)?;
    let rows = data.examples.len() + data.errors.len();
    let (groups, wrong) = prepare_for_scores(&model, &config, &data.file, &data.examples);
    data::tell(data.warnings, report)?;
    data::refuse(data.errors.into_iter().chain(wrong).collect(), rows, &data.file, report)?;
    let peft = block_on(io::load(&model, &adapter.folder, &adapter.config, &adapter.tensors))?;
    let sequences: Vec<Rendered> = groups.iter().flatten().cloned().collect();
    let mut scores = block_on(scores(&model, peft.as_ref(), config.method, &sequences))?.into_iter();
    let mut next = || scores.next().expect("each sequence has a score");
    let told: Vec<Score> = groups
        .iter()
        .map(
            |group| {
                if group.len() == 2 { Score::Pair { chosen: next(), rejected: next() } } else { Score::One(next()) }
            },
        )
        .collect();
    if report.json() {
        report.event(&Event::Score { scores: told })?;
        return Ok(ExitCode::SUCCESS);
    }
    report.line("  line     score  rejected")?;
    for ((line, _), score) in data.examples.iter().zip(&told) {
        report.line(&match score {
            Score::One(score) => format!("{line:>6}  {score:>8.4}"),
            Score::Pair { chosen, rejected } => format!("{line:>6}  {chosen:>8.4}  {rejected:>8.4}"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
