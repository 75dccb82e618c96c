//! `cargo xtask stages`: what objectives that compare answers make of the preference sets, and reinforcement of prompts, by a
//! release build; the tables go into `docs/stages.md`.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::document::put_section;
use crate::lessons::{LESSONS, teach};
use crate::model;
use crate::process::{Failure, Result, cargo, command, read, root, run, target, words};
use crate::setup::{self, Needs};

/// The sets of pairs, under `docs/starters`.
const SETS: [&str; 2] = ["prefer-shorter", "prefer-formal"];

/// One row of so many is held out.
const SHARE: usize = 4;

/// The objectives; that by which held-out pairs are judged, for KTO learns from single answers and measures no pair; and the
/// name of the measure.
const OBJECTIVES: [(&str, &str, &str); 4] = [
    ("dpo", "dpo", "rewards/accuracies"),
    ("kto", "dpo", "rewards/accuracies"),
    ("orpo", "orpo", "rewards/accuracies"),
    ("reward", "reward", "accuracy"),
];

/// Trains each objective on the named sets, or on all, with the flags beside the defaults, and judges the held-out pairs;
/// and gives the named [`LESSONS`], or all.
/// A set's table is written anew with each of its rows, so that what is done is kept when the rest is not waited for.
pub fn run_all(arguments: &[&str]) -> Result<()> {
    let named = arguments.iter().take_while(|word| !word.starts_with('-')).count();
    let (names, flags) = arguments.split_at(named);
    let known: Vec<&str> = SETS.into_iter().chain(LESSONS.iter().map(|lesson| lesson.name)).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(Failure::new(format!("there is no stage {unknown:?}"), format!("take {}", known.join(" or "))));
    }
    let is_asked = |name: &str| names.is_empty() || names.contains(&name);
    setup::ensure(&Needs { gpu: true, python: true, ..Needs::default() })?;
    model::fetch()?;
    run(cargo().args(["build", "--release", "--package", "tunesmith"]), "see the lines above")?;
    for set in SETS.into_iter().filter(|set| is_asked(set)) {
        let [learnt, held_out] = split(set)?;
        let mut table = format!("## {set}\n\n| `--objective` | held-out pairs right | seconds |\n|---|---|---|\n");
        for (objective, judge, measure) in OBJECTIVES {
            let out = format!("target/stages/{set}-{objective}");
            // What an earlier start left.
            let _ = fs::remove_dir_all(root().join(&out));
            let start = Instant::now();
            let train = ["train", "--objective", objective, "--data", &learnt, "--out", &out];
            run(tunesmith().args(train).args(flags), "see the lines above")?;
            let seconds = start.elapsed().as_secs_f64();
            let mut eval = tunesmith();
            eval.args(["eval", "--objective", judge, "--adapter", &out, "--data", &held_out]);
            let told = read(&mut eval).ok_or_else(|| failed(&eval))?;
            let share = measured(&told, measure).ok_or_else(|| failed(&eval))?;
            let row = format!("| `{objective}` | {:.0} % | {seconds:.0} |\n", 100.0 * share);
            print!("{row}");
            table += &row;
            put_section("docs/stages.md", set, &table)?;
        }
    }
    for lesson in LESSONS.iter().filter(|lesson| is_asked(lesson.name)) {
        teach(lesson, flags)?;
    }
    println!("\nThe tables are in docs/stages.md");
    Ok(())
}

fn failed(command: &Command) -> Failure {
    Failure::new(format!("`{}` tells no accuracy", words(command)), "run it by hand and see what it says")
}

/// The release build's command line.
pub fn tunesmith() -> Command {
    let mut command = command(target().join("release").join(format!("tunesmith{}", std::env::consts::EXE_SUFFIX)));
    command.current_dir(root());
    command
}

/// The rows to learn, and those held out, as files; gives their paths in the repository.
pub fn split(set: &str) -> Result<[String; 2]> {
    let path = root().join(format!("docs/starters/{set}.jsonl"));
    let text = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
    let folder = root().join("target/stages");
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    let part = |name: &str, held_out: bool| {
        let rows = text.lines().enumerate().filter(|(row, _)| (row % SHARE == SHARE - 1) == held_out);
        let rows: String = rows.map(|(_, row)| format!("{row}\n")).collect();
        let path = format!("target/stages/{set}-{name}.jsonl");
        fs::write(root().join(&path), rows).map_err(|error| Failure::io(&folder, error)).map(|()| path)
    };
    Ok([part("learnt", false)?, part("held-out", true)?])
}

/// A measure by its name, of what `tunesmith eval` printed.
fn measured(told: &str, name: &str) -> Option<f64> {
    told.lines().find_map(|line| line.trim_start().strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_is_found_by_its_name() {
        let told =
            "   all    0.6931      40\n     rewards/accuracies      0.9375\n               accuracy      0.5000\n";
        assert_eq!(measured(told, "rewards/accuracies"), Some(0.9375));
        assert_eq!(measured(told, "accuracy"), Some(0.5));
        assert_eq!(measured(told, "margin"), None);
    }
}
