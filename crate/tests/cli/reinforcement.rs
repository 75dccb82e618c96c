//! Reinforcement on the command line: answers that are written, judged, recorded and replayed; and what is refused.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::*;

const PROMPTS: &str = r#"{"prompt":"What is it?","answer":"A cat."}
{"prompt":[{"role":"user","content":"Hello"}],"answer":"b"}
{"prompt":"Say it","answer":"c"}
{"prompt":"And now?","answer":"4"}
"#;

const SETTINGS: &str = "--r 3 --num-generations 4 --per-device-train-batch-size 4 --gradient-accumulation-steps 2 \
                        --max-completion-length 6 --learning-rate 1e-2 --max-steps 3 --shuffle false --json";

fn train(flags: &str, paths: &[&Path]) -> Outcome {
    tunesmith(&format!("train --model {{}} {flags} {SETTINGS}"), paths)
}

fn prompts(name: &str) -> (PathBuf, PathBuf) {
    let folder = folder(name);
    let data = file(&folder, "prompts.jsonl", PROMPTS);
    (folder, data)
}

#[test]
fn answers_are_judged_recorded_and_replayed() {
    let (folder, data) = prompts("reinforcement-run");
    let [out, again, rollouts] = ["out", "again", "rollouts.jsonl"].map(|name| folder.join(name));
    let line = "--objective grpo --data {} --eval-data {} --out {} --save-rollouts {} --reward regex:[a-m] --reward \
                repetition:1 --reward-weights 1,0.5";
    let events = train(line, &[nano(), &data, &data, &out, &rollouts]).good().events();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    let (told, steps, evals) = (of("rollout"), of("step"), of("eval"));
    // Two prompts a step, four answers to each.
    assert_eq!((told.len(), steps.len(), evals.len()), (24, 3, 2));
    assert_eq!((told[0]["step"].as_u64(), told[23]["step"].as_u64()), (Some(1), Some(3)));
    for answer in &told {
        let earned = answer["rewards"]["regex:[a-m]"].as_f64().unwrap();
        let spelled = answer["completion"].as_str().unwrap().contains(|letter| ('a'..='m').contains(&letter));
        assert_eq!(earned, f64::from(spelled), "{answer}");
    }
    assert_eq!(evals[0]["loss"], Value::Null);
    assert!(evals[0]["metrics"]["reward"].is_number() && steps[0]["metrics"]["reward_std"].is_number());
    assert_eq!(read(&rollouts).iter().filter(|&&byte| byte == b'\n').count(), 24);

    // What was recorded teaches the same.
    let line = "--objective grpo --rollouts {} --out {} --reward-weights 1,0.5";
    let replayed = train(line, &[nano(), &rollouts, &again]).good();
    let norms = |events: &[Value]| -> Vec<Value> {
        events.iter().filter(|event| event["event"] == "step").map(|event| event["grad_norm"].clone()).collect()
    };
    assert_eq!(norms(&replayed.events()), norms(&events));

    let line = "estimate --model {} --data {} --objective grpo --reward json --max-completion-length 6 --json";
    let estimates = tunesmith(line, &[nano(), &data]).good().events();
    assert!(estimates.len() == 3 && estimates[0]["total"].as_u64() > estimates[2]["total"].as_u64());
}

#[test]
fn a_reward_model_judges_on_the_same_base() {
    let (folder, data) = prompts("reinforcement-model");
    let pairs = r#"{"prompt":"What is it? ","chosen":"A cat.","rejected":"I could not say."}"#;
    let [pairs, score, out, wrong] =
        [file(&folder, "pairs.jsonl", pairs), folder.join("score"), folder.join("out"), folder.join("wrong")];
    tunesmith("train --model {} --data {} --objective reward --r 3 --max-steps 2 --out {}", &[nano(), &pairs, &score])
        .good();
    let judge = format!("model:{}", score.display());
    let line = format!("--objective rloo --data {{}} --out {{}} --reward {judge}");
    let run = train(&line, &[nano(), &data, &out]).good();
    let step = run.events().into_iter().find(|event| event["event"] == "step").expect("there are steps");
    assert!(step["metrics"][format!("rewards/{judge}/mean")].is_number(), "{step}");
    assert!(step["metrics"]["kl"].is_number() && step["metrics"]["reward"].is_number());
    let held = "eval --model {} --data {} --objective rloo --max-completion-length 6 --json --reward";
    let told = tunesmith(&format!("{held} {judge}"), &[nano(), &data]).good().event("eval")["metrics"].clone();
    assert!(told["reward"].is_number() && told["completions/mean_length"].is_number(), "{told}");

    // PPO's value head is the run's own: a checkpoint has it, and the adapter has not.
    let ppo = folder.join("ppo");
    train(&format!("--objective ppo --data {{}} --out {{}} --save-steps 2 --reward {judge}"), &[nano(), &data, &ppo])
        .good();
    let has_value = |file: &str| read(ppo.join(file)).windows(13).any(|bytes| bytes == b".value.weight");
    assert!(has_value("checkpoint-2/optimizer.safetensors") && !has_value("adapter_model.safetensors"));
    let answer = "generate --model {} --adapter {} --prompt a --max-new-tokens 2 --temperature 0";
    tunesmith(answer, &[nano(), &ppo]).good();
    // Another run begins from it, with a value head of its own.
    let line = format!("--objective ppo --init-adapter {} --data {{}} --out {{}} --reward {judge}", ppo.display());
    train(&line, &[nano(), &data, &folder.join("ppo-on")]).good();

    // An adapter that scores nothing is none.
    let line = format!("--objective grpo --data {{}} --out {{}} --reward model:{}", out.display());
    let refused = train(&line, &[nano(), &data, &wrong]);
    assert!(refused.code == Some(1) && refused.out.contains("gives no scores"), "{}", refused.out);
}

#[cfg(unix)]
#[test]
fn a_program_judges_and_what_goes_wrong_with_it_is_told() {
    let (folder, data) = prompts("reinforcement-command");
    let judge = |name: &str, text: &str| {
        let (script, out) = (file(&folder, &format!("{name}.sh"), text), folder.join(name));
        let reward = PathBuf::from(format!("command:sh {}", script.display()));
        (train("--objective grpo --data {} --out {} --reward {}", &[nano(), &data, &out, &reward]), out)
    };
    let (good, _) = judge("good", "while read -r line; do case $line in *columns*) echo ${#line};; esac; done");
    assert!(good.good().events().iter().any(|event| event["event"] == "rollout"));
    let (null, _) = judge("null", "while read -r line; do echo null; done");
    assert!(null.code == Some(1) && null.out.contains("3 times in a row"), "{}", null.out);
    for (name, text, told) in [
        ("dies", "read -r line; echo 1; exit 3", "it has ended before it answered"),
        ("babbles", "while read -r line; do echo hello; done", "a number or null was expected"),
    ] {
        let (failed, out) = judge(name, text);
        assert!(failed.code == Some(1) && failed.out.contains(told), "{}", failed.out);
        assert!(!out.exists(), "nothing half-written");
    }
}

#[test]
fn what_cannot_be_learnt_from_is_refused() {
    let (folder, data) = prompts("reinforcement-refused");
    let [out, rollouts] = [folder.join("out"), file(&folder, "rollouts.jsonl", "{\"prompt_ids\":[5]}")];
    for (line, given, told) in [
        ("--objective grpo --data {} --out {}", &data, "nothing says what an answer earns"),
        ("--objective grpo --data {} --out {} --reward number:answer", &data, "line 1: the reward number:answer"),
        ("--objective grpo --data {} --out {} --reward regex:(", &data, "is no regular expression"),
        ("--objective grpo --data {} --out {} --reward function", &data, "written in the page"),
        ("--objective grpo --data {} --out {} --reward json-schema:none.json", &data, "none.json"),
        ("--objective grpo --rollouts {} --out {}", &rollouts, "line 1: it is no rollout"),
        ("--objective sft --rollouts {} --out {}", &rollouts, "learns from no answers of the model's own"),
    ] {
        let refused = train(line, &[nano(), given, &out]);
        assert!(refused.code == Some(1) && refused.out.contains(told), "{}", refused.out);
        assert!(!out.exists(), "nothing half-written");
    }
}

/// The nano model has hardly room for a judge's question, and what cannot be judged is counted.
#[test]
fn what_a_judge_cannot_decide_is_counted() {
    let (folder, data) = prompts("reinforcement-judge");
    let principles = file(&folder, "principles.txt", "Short answers are good.");
    let [pairs, tuned, judged] = ["pairs.jsonl", "tuned", "judged"].map(|name| folder.join(name));
    let line = "judge --model {} --principles {} --data {} --out {} --num-generations 3 --max-new-tokens 5 --json";
    let event = tunesmith(line, &[nano(), &principles, &data, &pairs]).good().event("judged");
    let count = |event: &Value, name: &str| event[name].as_u64().unwrap();
    let rows = read(&pairs).iter().filter(|&&byte| byte == b'\n').count() as u64;
    let undecided = count(&event, "undecided");
    assert!((1..=4).contains(&undecided) && rows == 4 - undecided && count(&event, "pairs") == rows, "{event}");
    let refused = tunesmith(line, &[nano(), &principles, &data, &pairs]);
    assert!(refused.code == Some(1) && refused.out.contains("there already"), "{}", refused.out);

    train("--objective grpo --data {} --out {} --reward regex:[a-m]", &[nano(), &data, &tuned]).good();
    let line = "judge --model {} --judge-model {} --principles {} --data {} --adapter {} --max-new-tokens 5 --json";
    let event = tunesmith(line, &[nano(), nano(), &principles, &data, &tuned]).good().event("duels");
    assert_eq!(count(&event, "won") + count(&event, "lost") + count(&event, "undecided"), 4, "{event}");

    // With more to read, it has room for none.
    let long = file(&folder, "long.txt", "Short answers are good. ".repeat(9));
    let reward = PathBuf::from(format!("judge:{}", long.display()));
    let run = train("--objective grpo --data {} --out {} --reward {}", &[nano(), &data, &judged, &reward]);
    assert!(run.code == Some(1) && run.out.contains("3 times in a row"), "{}", run.out);
}
