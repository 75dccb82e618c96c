//! Objectives on the command line: runs, resumed runs, a reference to start from, evaluation, scores, and what is refused.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::*;

const PAIRS: &str = r#"{"prompt":"What is it? ","chosen":"A cat.","rejected":"I could not say."}
{"prompt":[{"role":"user","content":"Hello"}],"chosen":[{"role":"assistant","content":"Good day."}],"rejected":[{"role":"assistant","content":"Yo"}]}
{"chosen":"One and one is two.","rejected":"One and one is many."}
{"prompt":"Say it: ","chosen":"yes","rejected":"no","margin":0.5}
"#;

const SETTINGS: &str = "--r 3 --learning-rate 1e-2 --max-steps 6 --save-steps 2 --gradient-accumulation-steps 2 --json";

fn train(flags: &str, data: &Path, out: &Path) -> Outcome {
    tunesmith(&format!("train --model {{}} --data {{}} --out {{}} {flags} {SETTINGS}"), &[nano(), data, out])
}

fn pairs(name: &str) -> (PathBuf, PathBuf) {
    let folder = folder(name);
    let data = file(&folder, "pairs.jsonl", PAIRS);
    (folder, data)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

#[test]
fn a_run_tells_what_its_objective_measures() {
    let (folder, data) = pairs("objective-run");
    let out = folder.join("out");
    let run = train("--objective dpo --beta 0.2", &data, &out).good();
    let events = run.events();
    let steps: Vec<&Value> = events.iter().filter(|event| event["event"] == "step").collect();
    // A fresh adapter is its own reference.
    assert_eq!((steps.len(), steps[0]["metrics"]["rewards/margins"].as_f64()), (6, Some(0.0)));
    assert!((steps[0]["loss"].as_f64().unwrap() - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(steps[5]["metrics"]["rewards/accuracies"].as_f64() > Some(0.5), "{:?}", steps[5]);
    let settings = json(out.join("run.json"));
    assert_eq!((settings["objective"].as_str(), settings["beta"].as_f64()), (Some("dpo"), Some(0.2)));
    assert!(settings.get("desirable_weight").is_none() && settings.get("loss_type").is_some());
    let state = json(out.join("trainer_state.json"));
    assert_eq!(state["log_history"][5]["rewards/margins"], steps[5]["metrics"]["rewards/margins"]);

    let line = "eval --model {} --adapter {} --data {} --objective dpo --beta 0.2 --json";
    let eval = tunesmith(line, &[nano(), &out, &data]).good().event("eval");
    assert_eq!(eval["examples"].as_array().unwrap().len(), 4, "one loss a pair");
    assert!(eval["metrics"]["rewards/margins"].as_f64() > Some(0.0), "{eval}");
}

#[test]
fn a_run_resumes_to_the_bit_and_keeps_its_reference() {
    let (folder, data) = pairs("objective-resume");
    let first = folder.join("first");
    train("--objective orpo", &data, &first).good();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.join(name));
    let line = format!(
        "train --model {{}} --data {{}} --init-adapter {{}} --out {{}} --objective dpo {}",
        SETTINGS.replace("--r 3 ", "")
    );
    let run = tunesmith(&line, &[nano(), &data, &first, &whole]).good();
    // What it began from is its reference, and moves no answer's reward at first.
    let step = run.events().into_iter().find(|event| event["event"] == "step").unwrap();
    assert_eq!(step["metrics"]["rewards/chosen"].as_f64(), Some(0.0));
    assert_eq!(names(&whole.join("reference")), ["adapter_config.json", "adapter_model.safetensors"]);

    tunesmith(&line, &[nano(), &data, &first, &stopped]).good();
    for name in ["checkpoint-4", "checkpoint-6"] {
        std::fs::remove_dir_all(stopped.join(name)).unwrap();
    }
    for name in ["adapter_config.json", "adapter_model.safetensors", "README.md", "trainer_state.json"] {
        std::fs::remove_file(stopped.join(name)).unwrap();
    }
    tunesmith("train --model {} --data {} --out {} --resume", &[nano(), &data, &stopped]).good();
    let tensors = |folder: &Path| read(folder.join("adapter_model.safetensors"));
    assert!(tensors(&whole) == tensors(&stopped), "a resumed run ends with other bits");
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_leaves_no_reference_behind() {
    let (folder, data) = pairs("objective-left");
    let first = folder.join("first");
    train("--objective orpo", &data, &first).good();
    // As if it was killed before its first step, or while it kept its reference.
    for (name, reference) in [("whole", "reference"), ("half", ".draft-reference")] {
        let out = folder.join(name);
        std::fs::create_dir_all(out.join(reference)).unwrap();
        file(&out, "metrics.jsonl", "");
        file(&out, "run.json", read(first.join("run.json")));
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            file(&out.join(reference), name, read(first.join(name)));
        }
        train("--objective dpo", &data, &out).good();
        let left = names(&out).into_iter().find(|name| name.ends_with("reference"));
        assert_eq!(left, None, "the new run compares with the model alone");
    }

    // Where no run left it, it stays.
    let theirs = folder.join("theirs");
    std::fs::create_dir_all(theirs.join("reference")).unwrap();
    let thesis = file(&theirs.join("reference"), "thesis.txt", "theirs");
    let refused = train("--objective dpo", &data, &theirs);
    assert!(refused.code == Some(1) && refused.out.contains("there is a reference in this folder"), "{}", refused.out);
    file(&theirs, "metrics.jsonl", "");
    file(&theirs, "run.json", read(first.join("run.json")));
    let refused = train("--objective dpo", &data, &theirs);
    assert!(refused.code == Some(1) && refused.out.contains("there is a thesis.txt in it"), "{}", refused.out);
    assert_eq!(read(thesis), b"theirs");
}

#[test]
fn a_reward_adapter_scores_and_does_nothing_else() {
    let (folder, data) = pairs("objective-reward");
    let out = folder.join("out");
    let run = train("--objective reward --center-rewards-coefficient 0.01", &data, &out).good();
    let last = run.events().into_iter().rfind(|event| event["event"] == "step").unwrap();
    assert!(last["metrics"]["margin"].as_f64() > Some(0.0), "{last}");
    let config = json(out.join("adapter_config.json"));
    assert_eq!((&config["task_type"], &config["modules_to_save"][0]), (&"SEQ_CLS".into(), &"score".into()));

    let score = |data: &Path| tunesmith("score --model {} --adapter {} --data {} --json", &[nano(), &out, data]);
    let scores = score(&data).good().event("score");
    let scores = scores["scores"].as_array().unwrap();
    let better = scores.iter().filter(|pair| pair["chosen"].as_f64() > pair["rejected"].as_f64()).count();
    assert_eq!((scores.len(), better), (4, 4), "{scores:?}");
    let one = file(&folder, "one.jsonl", r#"{"prompt":"What is it? ","completion":"A cat."}"#);
    assert_eq!(score(&one).good().event("score")["scores"][0], scores[0]["chosen"], "alone as in a pair");

    let refused = tunesmith("generate --model {} --adapter {} --prompt hello", &[nano(), &out]);
    assert_eq!(
        (refused.code, refused.err.contains("scores answers, and writes none")),
        (Some(1), true),
        "{}",
        refused.err
    );
    let merged = folder.join("merged.gguf");
    let refused = tunesmith("merge --model {} --adapter {} --out {}", &[nano(), &out, &merged]);
    assert!(refused.code == Some(1) && refused.err.contains("no place for a score head"), "{}", refused.err);

    let other = folder.join("other");
    train("--objective dpo", &data, &other).good();
    let refused = tunesmith("score --model {} --adapter {} --data {}", &[nano(), &other, &data]);
    assert!(refused.code == Some(1) && refused.err.contains("has no score head"), "{}", refused.err);
}

#[test]
fn single_answers_teach_kto_and_pairs_become_two() {
    let (folder, data) = pairs("objective-kto");
    let rows = r#"{"prompt":"What is it? ","completion":"A cat.","label":true}
{"prompt":"Say it: ","completion":"no","label":false}
"#;
    let rows = file(&folder, "rows.jsonl", rows);
    let run = train("--objective kto --per-device-train-batch-size 2", &rows, &folder.join("rows")).good();
    let step = run.events().into_iter().find(|event| event["event"] == "step").unwrap();
    assert_eq!(step["metrics"]["kl"].as_f64(), Some(0.0), "{step}");
    let run = train("--objective kto", &data, &folder.join("pairs")).good();
    assert!(run.events().iter().any(|event| event["metrics"]["rewards/margins"].is_number()));
}

#[test]
fn what_does_not_fit_the_objective_is_refused() {
    let (folder, data) = pairs("objective-refused");
    let refused = |flags: &str, data: &Path, words: &[&str]| {
        let run = train(flags, data, &folder.join("out"));
        assert_eq!(run.code, Some(1), "{flags}: {}", run.err);
        for word in words {
            assert!(run.err.contains(word), "{flags}: no \"{word}\" in {}", run.err);
        }
    };
    refused("", &data, &["4 of 4 rows", "--objective dpo"]);
    refused("--objective cpo --loss-type robust", &data, &["loss_type: cpo has no loss robust"]);
    refused("--beta 0.5", &data, &["beta: it belongs to the objective dpo, kto, orpo, cpo"]);
    let equal = file(&folder, "equal.jsonl", r#"{"prompt":"a","chosen":"b","rejected":"b"}"#);
    refused("--objective dpo", &equal, &["line 1"]);
    assert!(!folder.join("out").exists());
}
