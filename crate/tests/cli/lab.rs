//! `lab`: its rows are what `train` and `eval` would say, and a method that fails leaves the others alone.

use serde_json::Value;

use crate::support::*;

const RUN: &str = "--max-steps 5 --learning-rate 1e-2 --seed 3";

#[test]
fn a_row_is_what_a_run_and_its_evaluation_say() {
    let folder = folder("lab");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    // Every fifth is held out.
    let lines: Vec<&str> = EXAMPLES.lines().collect();
    let learnt = file(&folder, "learnt.jsonl", lines[..4].join("\n"));
    let held_out = file(&folder, "held-out.jsonl", lines[4]);
    let lab = format!("lab --model {{}} --data {{}} --json --methods ia3,p-tuning,dora {RUN}");
    let rows = tunesmith(&lab, &[nano(), &data]).good().events();
    let asked: Vec<&Value> = rows.iter().map(|row| &row["method"]).collect();
    assert_eq!(asked, ["ia3", "p-tuning", "dora"]);

    let loss = |outcome: Outcome| outcome.good().event("eval")["loss"].clone();
    let base = loss(tunesmith("eval --model {} --data {} --json", &[nano(), &held_out]));
    for row in &rows {
        let method = row["method"].as_str().unwrap();
        let out = folder.join(method);
        let train = format!("train --model {{}} --data {{}} --out {{}} --json --method {method} {RUN}");
        let run = tunesmith(&train, &[nano(), &learnt, &out]).good();
        assert_eq!(row["trainable"], run.event("start")["trainable"], "{method}");
        let after = loss(tunesmith("eval --model {} --adapter {} --data {} --json", &[nano(), &out, &held_out]));
        assert_eq!((&row["loss_before"], &row["loss_after"]), (&base, &after), "{method}");
        assert_ne!(base, after, "{method} learnt nothing");
        assert_eq!(row["answers"], 1);
        // The file is its tensors and a header.
        let bytes = read(out.join("adapter_model.safetensors"));
        let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        assert_eq!(row["file_bytes"], bytes.len() - header, "{method}");
    }
}

#[test]
fn a_method_that_fails_leaves_the_others_alone() {
    let data = file(&folder("lab-fails"), "data.jsonl", EXAMPLES);
    let line = format!("lab --model {{}} --data {{}} --json --methods prompt,ia3 --num-virtual-tokens 4000 {RUN}");
    let lab = tunesmith(&line, &[nano(), &data]);
    let lab = lab.good();
    let rows = lab.events();
    assert_eq!((rows.len(), &rows[0]["error"]["code"]), (2, &"config".into()));
    assert!(rows[0]["error"]["message"].as_str().unwrap().contains("4000 virtual tokens"), "{}", rows[0]);
    assert!(rows[1]["loss_after"].is_number(), "{}", rows[1]);

    let people = tunesmith(&line.replace("--json ", ""), &[nano(), &data]);
    assert!(people.err.contains("prompt failed: num_virtual_tokens"), "{}", people.err);
    assert!(people.out.contains("| ia3 |") && !people.out.contains("| prompt |"), "{}", people.out);
}

#[test]
fn a_method_that_does_not_fit_is_not_tried() {
    let data = file(&folder("lab-limit"), "data.jsonl", EXAMPLES);
    let line = format!("lab --model {{}} --data {{}} --json --methods full --memory-limit 1 {RUN}");
    let lab = tunesmith(&line, &[nano(), &data]);
    assert_eq!(lab.code, Some(1));
    let error = &lab.event("trial")["error"];
    assert_eq!(error["code"], "config");
    assert!(error["message"].as_str().unwrap().starts_with("memory_limit: the run needs "), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("fewer parameters"), "{error}");
}

#[test]
fn it_takes_five_examples_to_hold_one_out() {
    let data = file(&folder("lab-few"), "data.jsonl", r#"{"text":"three"}"#);
    let lab = tunesmith("lab --model {} --data {} --methods ia3 --json", &[nano(), &data]);
    assert_eq!((lab.code, &lab.event("error")["code"]), (Some(1), &"data".into()));
    assert!(lab.err.contains("of 1 no example can be held out"), "{}", lab.err);
}
