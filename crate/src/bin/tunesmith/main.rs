//! The command line: `tunesmith train`, `pretrain`, `lab`, `estimate`, `eval`, `score`, `judge`, `generate`, `merge`, `inspect`, `runs`,
//! `devices`, `bench`.

mod adapter;
mod args;
mod base;
mod bench;
mod bench_table;
mod commands;
mod data;
mod default_model;
mod devices;
mod estimate;
mod eval;
mod fetch;
mod forms;
mod generate;
mod inspect;
mod interrupt;
mod judge;
mod lab;
mod lesson;
mod merge;
mod pretrain;
mod profile;
mod report;
mod reward_command;
mod reward_schema;
mod rewards;
mod run_folder;
mod runs;
mod score;
mod spill;
mod train;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    // Wrong usage ends here, with code 2.
    let matches = commands::command().get_matches();
    let (name, matches) = matches.subcommand().expect("a command is required");
    let mut report = Report::new(matches.get_flag(args::JSON));
    let outcome = match name {
        "train" => train::run(matches, &mut report),
        "pretrain" => pretrain::run(matches, &mut report),
        "lab" => lab::run(matches, &mut report),
        "estimate" => estimate::run(matches, &mut report),
        "eval" => eval::run(matches, &mut report),
        "score" => score::run(matches, &mut report),
        "judge" => judge::run(matches, &mut report),
        "generate" => generate::run(matches, &mut report),
        "merge" => merge::run(matches, &mut report),
        "inspect" => inspect::run(matches, &mut report),
        "runs" => runs::run(matches, &mut report),
        "devices" => devices::run(&mut report),
        "bench" => bench::run(matches, &mut report),
        _ => unreachable!("clap knows the commands"),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report.failed(&error);
            ExitCode::FAILURE
        }
    }
}
