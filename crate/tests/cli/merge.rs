//! `merge`.

use crate::support::*;

/// The losses of an eval event.
fn losses(line: &str, paths: &[&std::path::Path]) -> Vec<f64> {
    let event = tunesmith(line, paths).good().event("eval");
    event["examples"].as_array().unwrap().iter().map(|example| example["loss"].as_f64().unwrap()).collect()
}

#[test]
fn a_merged_model_stands_alone() {
    let folder = folder("merge");
    let (data, run) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("run"));
    let train = "train --model {} --data {} --out {} --max-steps 4 --learning-rate 1e-2 --r 2 --rank-pattern q_proj=3";
    tunesmith(train, &[nano(), &data, &run]).good();
    let adapter = losses("eval --model {} --adapter {} --data {} --json", &[nano(), &run, &data]);

    let out = folder.join("merged.gguf");
    let line = "merge --model {} --adapter {} --out {} --json";
    let event = tunesmith(line, &[nano(), &run, &out]).good().event("merged");
    assert_eq!((&event["bytes"], &event["outtype"]), (&(read(&out).len()).into(), &"f32".into()));
    assert_eq!(names(&folder), ["data.jsonl", "merged.gguf", "run"], "nothing else is left");
    let merged = losses("eval --model {} --data {} --json", &[&out, &data]);
    let base = losses("eval --model {} --data {} --json", &[nano(), &data]);
    for ((merged, adapter), base) in merged.iter().zip(&adapter).zip(&base) {
        assert!((merged - adapter).abs() <= 1e-5 * adapter, "{merged} for {adapter}");
        assert!((merged - base).abs() > 1e-2, "{merged}: the base has {base}");
    }

    let again = tunesmith(line, &[nano(), &run, &out]);
    assert!(again.code == Some(1) && again.err.contains("would overwrite it"), "{}", again.err);
    let half = folder.join("half.gguf");
    let said = tunesmith("merge --model {} --adapter {} --out {} --outtype f16", &[nano(), &run, &half]).good();
    assert!(said.err.contains("half.gguf") && read(&half).len() < read(&out).len(), "{}", said.err);
}

#[test]
fn what_cannot_be_merged_leaves_nothing() {
    let folder = folder("merge-not");
    let (data, run, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("run"), folder.join("merged.gguf"));
    tunesmith("train --model {} --data {} --out {} --method prompt --max-steps 1", &[nano(), &data, &run]).good();
    let merge = tunesmith("merge --model {} --adapter {} --out {}", &[nano(), &run, &out]);
    assert_eq!((merge.code, names(&folder)), (Some(1), vec!["data.jsonl".to_owned(), "run".to_owned()]));
    assert!(merge.err.contains("virtual tokens are no weights") && merge.err.contains("help: "), "{}", merge.err);
    let usage = tunesmith("merge --model {} --adapter {} --out {} --outtype q4_0", &[nano(), &run, &out]);
    assert!(usage.code == Some(2) && usage.err.contains("f32 or f16"), "{}", usage.err);
    let nowhere = tunesmith("merge --model {} --adapter {} --out {}", &[nano(), &folder, &out]);
    assert!(nowhere.code == Some(1) && nowhere.err.contains("adapter_config.json"), "{}", nowhere.err);
}
