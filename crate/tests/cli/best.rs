//! The best evaluation: what is kept, when a run stops early, and that a resumed run does the same.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::*;

const LEARNT: &str = "{\"prompt\":\"one \",\"completion\":\"two\"}\n{\"prompt\":\"three \",\"completion\":\"four\"}\n";
/// Begins as what is learnt, and goes on otherwise: at first it becomes likelier, and then it does not.
const HELD_OUT: &str = "{\"prompt\":\"one \",\"completion\":\"twenty\"}\n";

const TRAIN: &str = "train --model {} --data {} --eval-data {} --out {} --gradient-accumulation-steps 1 --max-steps 60 \
                     --eval-steps 2 --save-steps 2 --load-best-model-at-end true --early-stopping-patience 3 --json";

fn files(name: &str) -> (PathBuf, [PathBuf; 2]) {
    let folder = folder(name);
    let files = [("learnt.jsonl", LEARNT), ("held-out.jsonl", HELD_OUT)].map(|(name, text)| file(&folder, name, text));
    (folder, files)
}

fn train(flags: &str, [learnt, held_out]: &[PathBuf; 2], out: &Path) -> Outcome {
    tunesmith(&format!("{TRAIN} {flags}"), &[nano(), learnt, held_out, out])
}

fn tensors(folder: impl AsRef<Path>) -> Vec<u8> {
    read(folder.as_ref().join("adapter_model.safetensors"))
}

#[test]
fn what_was_best_is_kept_and_the_run_stops() {
    let (folder, data) = files("best");
    for method in ["lora", "adalora", "houlsby", "unipelt", "full"] {
        let out = folder.join(method);
        let rate = if method == "full" { "3e-3" } else { "5e-2" };
        let run = train(&format!("--method {method} --learning-rate {rate}"), &data, &out).good();
        let events = run.events();
        let evals: Vec<&Value> = events.iter().filter(|event| event["event"] == "eval" && event["step"] != 0).collect();
        let loss = |eval: &Value| eval["loss"].as_f64().unwrap();
        let best =
            (0..evals.len()).reduce(|best, at| if loss(evals[at]) < loss(evals[best]) { at } else { best }).unwrap();
        assert_eq!(evals.len(), best + 1 + 3, "{method}: it waits for three evaluations");
        assert!(evals.len() < 30, "{method}: the run went on to its end");
        for (at, eval) in evals.iter().enumerate() {
            let is_best = evals[..at].iter().all(|before| loss(eval) < loss(before));
            assert_eq!(eval["best"] == true, is_best, "{method}: {eval}");
        }
        let step = evals[best]["step"].as_u64().unwrap();
        assert!(run.event("warning")["message"].as_str().unwrap().contains(&format!("best at step {step}, ")));
        let done = run.event("done");
        assert_eq!(done["best"]["step"], step, "{method}: {done}");
        assert_eq!(done["steps"], step + 6);
        assert!(tensors(&out) == tensors(out.join(format!("checkpoint-{step}"))), "{method}: other bits are kept");
        assert!(tensors(&out) != tensors(out.join(format!("checkpoint-{}", step + 6))), "{method}");
        let state: Value = serde_json::from_slice(&read(out.join("trainer_state.json"))).unwrap();
        assert_eq!((&state["best_global_step"], &state["best_metric"]), (&done["best"]["step"], &evals[best]["loss"]));
    }
}

#[test]
fn a_resumed_run_knows_the_best() {
    let (folder, data) = files("best-resume");
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.join(name));
    let flags = "--r 3 --learning-rate 5e-2 --save-total-limit 2";
    let done = train(flags, &data, &whole).good().event("done");
    let (steps, best) = (done["steps"].as_u64().unwrap(), done["best"]["step"].as_u64().unwrap());
    let checkpoints =
        |out: &Path| -> Vec<String> { names(out).into_iter().filter(|name| name.starts_with("checkpoint-")).collect() };
    let mut left = vec![format!("checkpoint-{best}"), format!("checkpoint-{steps}")];
    left.sort();
    assert_eq!(checkpoints(&whole), left, "the best and the newest");

    // As if it was killed when the best was past.
    train(&flags.replace("limit 2", "limit 0"), &data, &stopped).good();
    let killed = best + 4;
    for step in (killed + 2..=steps).step_by(2) {
        std::fs::remove_dir_all(stopped.join(format!("checkpoint-{step}"))).unwrap();
    }
    let files = ["adapter_config.json", "adapter_model.safetensors", "README.md", "trainer_state.json"];
    files.iter().for_each(|name| std::fs::remove_file(stopped.join(name)).unwrap());
    // The best is in every checkpoint that came after it.
    std::fs::remove_dir_all(stopped.join(format!("checkpoint-{best}"))).unwrap();
    let resumed = train("--resume", &data, &stopped).good().event("done");
    assert_eq!((&resumed["steps"], &resumed["best"]), (&done["steps"], &done["best"]));
    assert!(tensors(&whole) == tensors(&stopped), "a resumed run keeps other bits");
    // One that has ended stays at its end.
    let again = train("--resume", &data, &stopped).good().event("done");
    assert_eq!((&again["steps"], &again["best"]), (&done["steps"], &done["best"]));
    assert!(tensors(&whole) == tensors(&stopped));

    // Both are listed.
    let told = tunesmith("runs {} --json", &[&folder]).good().events();
    assert_eq!(told.iter().map(|run| run["name"].as_str().unwrap()).collect::<Vec<_>>(), ["stopped", "whole"]);
    for run in &told {
        assert_eq!(
            (&run["steps"], &run["best_step"], &run["best_loss"]),
            (&done["steps"], &done["best"]["step"], &done["best"]["value"])
        );
        assert!(run["done"] == true && run["base"] == "nano" && run["bytes"].as_u64() > Some(10_000), "{run}");
    }
    let table = tunesmith("runs {}", &[&folder]).good().out;
    assert!(
        table.contains(&format!(" at step {best} | done | ")) && table.contains("| save_total_limit | 0 | 2 |"),
        "{table}"
    );
    assert!(!table.contains("| seed |"), "{table}");
    let one = tunesmith("runs {} --json", &[&whole]).good().event("run");
    assert_eq!(one["config"]["save_total_limit"], 2);
    let none = tunesmith("runs {} --json", &[&whole.join("checkpoint-2")]);
    assert!(none.code == Some(1), "{}", none.out);
}

#[test]
fn what_it_cannot_go_by_is_told() {
    let (folder, data) = files("best-refused");
    let refused = |line: &str, says: [&str; 2]| {
        let run = tunesmith(line, &[nano(), &data[0], &data[1], &folder.join("out")]);
        assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
        let error = run.event("error");
        let said = ["message", "hint"].map(|key| error[key].as_str().unwrap().to_owned());
        assert!(said[0].contains(says[0]) && said[1].contains(says[1]), "{said:?}");
        assert!(!folder.join("out").exists());
    };
    refused(&TRAIN.replace("--eval-steps 2", ""), ["load_best_model_at_end: it goes by evaluations", "set eval_steps"]);
    refused(
        &format!("{TRAIN} --metric-for-best-model rewards/margins"),
        ["\"rewards/margins\" is not measured", "take one of loss"],
    );
    let line = TRAIN.replace("--eval-data {} ", "");
    let run = tunesmith(&line, &[nano(), &data[0], &folder.join("out")]);
    assert!(run.code == Some(1) && run.out.contains("nothing is"), "{}{}", run.out, run.err);
}
