//! What reinforcement makes of prompts, by a release build: part of `cargo xtask stages`.

use std::fs;
use std::time::Instant;

use crate::document::put_section;
use crate::process::{Failure, Result, read, root, run};
use crate::stages::{split, tunesmith};

/// What is learnt.
pub struct Lesson {
    /// The name of its table.
    pub name: &'static str,
    /// The set in `docs/starters` whose prompts are answered.
    prompts: &'static str,
    by: By,
    /// The flags of `tunesmith train`, beside files.
    flags: &'static str,
}

/// Who says what an answer is worth.
enum By {
    /// Rules, which are among the flags.
    Rules,
    /// The reward model of a set of pairs; it is trained where [`crate::stages`] has not done so.
    RewardModel(&'static str),
    /// A judge that reads each answer beside the others, by the principles in a file.
    Principles(&'static str),
    /// The same judge beforehand: it makes pairs of answers, from which the lesson learns.
    JudgedPairs(&'static str),
}

/// Every lesson there is.
pub const LESSONS: &[Lesson] = &[
    Lesson { name: "short-answers-grpo", prompts: "short-answers", by: By::Rules, flags: SHORT },
    Lesson { name: "json-grpo", prompts: "people-as-json", by: By::Rules, flags: JSON },
    Lesson { name: "shorter-rloo", prompts: "prefer-shorter", by: By::RewardModel("prefer-shorter"), flags: RLOO },
    Lesson { name: "shorter-ppo", prompts: "prefer-shorter", by: By::RewardModel("prefer-shorter"), flags: PPO },
    Lesson { name: "judged-dpo", prompts: "prefer-shorter", by: By::JudgedPairs(THOROUGH), flags: PAIRS },
    Lesson { name: "judged-grpo", prompts: "prefer-shorter", by: By::Principles(THOROUGH), flags: JUDGED },
];

/// A dozen words and a full stop; and since the model writes no such answer at first, what is shorter is better.
const SHORT: &str = r"--objective grpo --reward regex:^(\S+\s+){0,11}\S*[.]$ --reward soft-overlong:40 --max-completion-length 48
    --gradient-accumulation-steps 1 --max-steps 40 --learning-rate 4e-4";
/// JSON of the two fields that were asked for, and nothing else; and since the model seldom writes that at first, some for any
/// JSON, and for how it begins.
const JSON: &str =
    "--objective grpo --reward json-schema:docs/starters/person.schema.json --reward json --reward regex:^[{]
    --max-completion-length 40 --gradient-accumulation-steps 1 --max-steps 40 --learning-rate 4e-4";
/// Answers that the reward model of shorter answers scores higher.
const RLOO: &str = "--objective rloo --max-completion-length 64 --gradient-accumulation-steps 1 --max-steps 25
    --learning-rate 4e-4";
/// The same, with two steps over each answer. So few answers teach the values little: each prompt has several, and every token
/// of an answer has all of what it earned to answer for.
const PPO: &str =
    "--objective ppo --num-generations 8 --temperature 1 --lam 1 --num-iterations 2 --max-completion-length 64
    --gradient-accumulation-steps 1 --max-steps 50 --learning-rate 4e-4";
/// Four answers to each prompt, which makes six pairs to judge, in both orders.
const JUDGED: &str = "--objective grpo --num-generations 4 --max-completion-length 32 --gradient-accumulation-steps 1
    --max-steps 24 --learning-rate 4e-4";
/// Pairs that a judge made.
const PAIRS: &str = "--objective dpo --learning-rate 2e-4";
/// What makes an answer good: a judge of this size likes the longer answer, whatever it is told, so it is told that.
const THOROUGH: &str = "docs/starters/thorough.principles.txt";

/// What is told of held-out prompts.
const TOLD: [&str; 3] = ["reward", "completions/mean_length", "completions/clipped_ratio"];
/// How many times each held-out prompt is answered for duels.
const DUELS: usize = 3;

/// Has the model learn, with the flags beside the lesson's own, and writes its table.
///
/// # Errors
/// When the run fails, or tells no reward.
pub fn teach(lesson: &Lesson, flags: &[&str]) -> Result<()> {
    let [learnt, held_out] = split(lesson.prompts)?;
    let out = format!("target/stages/{}", lesson.name);
    // What an earlier start left.
    let _ = fs::remove_dir_all(root().join(&out));
    let start = Instant::now();
    let mut train = tunesmith();
    train.args(["train", "--out", &out]).args(lesson.flags.split_whitespace());
    match lesson.by {
        By::JudgedPairs(principles) => train.args(["--data", &judged(lesson, principles, &learnt)?]),
        _ => train.args(["--data", &learnt, "--eval-data", &held_out]),
    };
    match lesson.by {
        By::RewardModel(set) => train.arg("--reward").arg(format!("model:{}", reward_model(set)?)),
        By::Principles(principles) => train.arg("--reward").arg(format!("judge-pairs:{principles}")),
        By::Rules | By::JudgedPairs(_) => &mut train,
    };
    run(train.args(flags), "see the lines above")?;
    let seconds = start.elapsed().as_secs_f64();
    let given = [lesson.flags.split_whitespace().collect(), flags.to_vec()].concat().join(" ");
    let mut text = format!("## {}\n\n`{given}`, {seconds:.0} seconds\n", lesson.name);
    // By principles an answer is worth something beside others alone: what is held out is told by duels.
    if matches!(lesson.by, By::Rules | By::RewardModel(_)) {
        let path = root().join(&out).join("metrics.jsonl");
        let metrics = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
        let table = table(&metrics).ok_or_else(|| Failure::new("the run tells no reward", "see its metrics.jsonl"))?;
        text += &format!("\n{table}");
    }
    if let By::Principles(principles) | By::JudgedPairs(principles) = lesson.by {
        text += &format!("\n{}\n", duels(principles, &out, &held_out)?);
    }
    print!("{text}");
    put_section("docs/stages.md", lesson.name, &text)
}

/// The adapter that scores by a set of pairs.
fn reward_model(set: &str) -> Result<String> {
    let adapter = format!("target/stages/{set}-reward");
    if !root().join(&adapter).is_dir() {
        let [pairs, _] = split(set)?;
        let reward = ["train", "--objective", "reward", "--data", &pairs, "--out", &adapter];
        run(tunesmith().args(reward), "see the lines above")?;
    }
    Ok(adapter)
}

/// Three answers of the model to each prompt, of which a judge makes a pair: their file.
fn judged(lesson: &Lesson, principles: &str, prompts: &str) -> Result<String> {
    let pairs = format!("target/stages/{}-pairs.jsonl", lesson.name);
    // What an earlier start left.
    let _ = fs::remove_file(root().join(&pairs));
    let judge = ["judge", "--principles", principles, "--data", prompts, "--out", &pairs, "--num-generations", "3"];
    run(tunesmith().args(judge).args(BRIEFLY), "see the lines above")?;
    Ok(pairs)
}

/// How long judged answers are, and how many are written at once.
const BRIEFLY: [&str; 4] = ["--max-new-tokens", "32", "--batch-size", "8"];

/// How often the answers with the adapter win against those without it, in a sentence.
fn duels(principles: &str, adapter: &str, prompts: &str) -> Result<String> {
    let (mut won, mut decided) = (0.0, 0.0);
    for seed in 1..=DUELS {
        let mut judge = tunesmith();
        judge.args(["judge", "--principles", principles, "--data", prompts, "--adapter", adapter, "--json", "--seed"]);
        judge.arg(seed.to_string()).args(BRIEFLY);
        let told = read(&mut judge).unwrap_or_default();
        let of = |name| told.lines().find_map(|line| number(line, name));
        let (Some(own), Some(other)) = (of("won"), of("lost")) else {
            return Err(Failure::new("the judge tells of no duels", "run `tunesmith judge --adapter` by hand"));
        };
        (won, decided) = (won + own, decided + own + other);
    }
    let share = 100.0 * won / decided;
    Ok(format!("Held out: its answers won {won} of {decided} duels with those of the model as it was, {share:.0} %."))
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
