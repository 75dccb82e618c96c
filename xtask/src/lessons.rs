//! What reinforcement makes of prompts, by a release build: part of `cargo xtask stages`.

use std::fs;
use std::time::Instant;

use crate::document::put_section;
use crate::process::{Failure, Result, root, run};
use crate::stages::{split, tunesmith};

/// What is learnt.
pub struct Lesson {
    /// The name of its table.
    pub name: &'static str,
    /// The set in `docs/starters` whose prompts are answered.
    prompts: &'static str,
    /// The set of pairs that a reward model judges by; it is trained where [`crate::stages`] has not done so.
    judge: Option<&'static str>,
    /// The flags of `tunesmith train`, beside files.
    flags: &'static str,
}

/// Every lesson there is.
pub const LESSONS: &[Lesson] = &[
    Lesson { name: "short-answers-grpo", prompts: "short-answers", judge: None, flags: SHORT },
    Lesson { name: "formal-ppo", prompts: "prefer-formal", judge: Some("prefer-formal"), flags: PPO },
];

/// A dozen words and a full stop; and since the model writes no such answer at first, what is shorter is better.
const SHORT: &str = r"--objective grpo --reward regex:^(\S+\s+){0,11}\S*[.]$ --reward soft-overlong:40 --max-completion-length 48
    --gradient-accumulation-steps 1 --max-steps 40 --learning-rate 4e-4";
/// Answers that the reward model of a formal tone scores higher.
const PPO: &str = "--objective ppo --num-iterations 2 --max-completion-length 32 --gradient-accumulation-steps 1
    --max-steps 50 --learning-rate 4e-4";

/// What is told of held-out prompts.
const TOLD: [&str; 3] = ["reward", "completions/mean_length", "completions/clipped_ratio"];

/// Has the model learn, with the flags beside the lesson's own, and writes its table.
///
/// # Errors
/// When the run fails, or tells no reward.
pub fn teach(lesson: &Lesson, flags: &[&str]) -> Result<()> {
    let [learnt, held_out] = split(lesson.prompts)?;
    let out = format!("target/stages/{}", lesson.name);
    // What an earlier start left.
    let _ = fs::remove_dir_all(root().join(&out));
    let mut train = tunesmith();
    train.args(["train", "--data", &learnt, "--eval-data", &held_out, "--out", &out]);
    train.args(lesson.flags.split_whitespace());
    if let Some(set) = lesson.judge {
        let adapter = format!("target/stages/{set}-reward");
        if !root().join(&adapter).is_dir() {
            let [pairs, _] = split(set)?;
            let reward = ["train", "--objective", "reward", "--data", &pairs, "--out", &adapter];
            run(tunesmith().args(reward), "see the lines above")?;
        }
        train.arg("--reward").arg(format!("model:{adapter}"));
    }
    let start = Instant::now();
    run(train.args(flags), "see the lines above")?;
    let seconds = start.elapsed().as_secs_f64();
    let path = root().join(out).join("metrics.jsonl");
    let metrics = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
    let given = [lesson.flags.split_whitespace().collect(), flags.to_vec()].concat().join(" ");
    let table = table(&metrics).ok_or_else(|| Failure::new("the run tells no reward", "see its metrics.jsonl"))?;
    let text = format!("## {}\n\n`{given}`, {seconds:.0} seconds\n\n{table}", lesson.name);
    print!("{text}");
    put_section("docs/stages.md", lesson.name, &text)
}

/// The first evaluation beside the last, and how far the model went from the reference.
fn table(metrics: &str) -> Option<String> {
    let of = |kind: &str| {
        let mark = format!("\"event\":\"{kind}\"");
        metrics.lines().filter(move |line| line.contains(&mark)).collect::<Vec<_>>()
    };
    let (evals, steps) = (of("eval"), of("step"));
    let (before, after) = (evals.first()?, evals.last()?);
    let rewards = before.split('"').filter(|name| name.starts_with("rewards/"));
    let mut table = "| held-out prompts | before | after |\n|---|---|---|\n".to_owned();
    for name in TOLD.into_iter().chain(rewards) {
        let (before, after) = (number(before, name)?, number(after, name)?);
        // A backslash stands there twice.
        let name = name.replace("\\\\", "\\");
        table += &format!("| `{name}` | {before:.3} | {after:.3} |\n");
    }
    // The answers of the last generation are told with its first step; PPO tells the distance of whole answers itself.
    let last = steps.iter().rev().find(|step| number(step, "completions/mean_length").is_some())?;
    let by_token = || Some(number(last, "kl")? * number(last, "completions/mean_length")?);
    if let Some(distance) = number(last, "objective/kl").or_else(by_token) {
        table += &format!("| nats from the reference, an answer of the last generation | | {distance:.2} |\n");
    }
    Some(table)
}

/// The number behind a name in a line of JSON.
fn number(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_first_and_the_last_evaluation() {
        let eval = |reward: f64| {
            format!(
                "{{\"event\":\"eval\",\"metrics\":{{\"completions/mean_length\":9.5,\"completions/clipped_ratio\":0.25,\
                 \"rewards/json/mean\":{reward},\"reward\":{reward}}}}}\n"
            )
        };
        let step = "{\"event\":\"step\",\"metrics\":{\"kl\":0.5,\"completions/mean_length\":8.0}}\n";
        let found = table(&[eval(0.25), step.into(), eval(0.75)].concat()).unwrap();
        assert!(found.contains("| `reward` | 0.250 | 0.750 |\n"), "{found}");
        assert!(found.contains("| `rewards/json/mean` | 0.250 | 0.750 |\n") && found.contains("| 4.00 |"), "{found}");
        assert_eq!(table(step), None);
    }
}
