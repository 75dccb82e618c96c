//! Several adapters at once, and adapters at less than their full strength.

use std::path::PathBuf;

use crate::support::*;

/// The folder of an adapter that answers "ab" with `reply`.
fn taught(folder: &std::path::Path, reply: &str) -> PathBuf {
    let row =
        format!(r#"{{"messages":[{{"role":"user","content":"ab"}},{{"role":"assistant","content":"{reply}"}}]}}"#);
    let (data, out) = (file(folder, &format!("{reply}.jsonl"), row), folder.join(reply));
    let line = "train --model {} --data {} --out {} --max-steps 40 --learning-rate 2e-2 --lr-scheduler-type constant";
    tunesmith(line, &[nano(), &data, &out]).good();
    out
}

#[test]
fn several_adapters_answer_one_after_another() {
    let folder = folder("adapters");
    let [one, two] = ["xyz", "uvw"].map(|reply| taught(&folder, reply));
    let line = "generate --model {} --prompt ab --max-new-tokens 6 --adapter {} --adapter {} --adapter {}";
    let events = tunesmith(&format!("{line} --json"), &[nano(), &one, &two, &one]).good().events();
    let texts: Vec<_> = events.iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["xyz", "uvw", "xyz"]);
    assert_eq!(events[1]["adapter"], two.to_str().unwrap());
    let said = tunesmith(line, &[nano(), &one, &two, &one]).good().out;
    let (one_name, two_name) = (one.display(), two.display());
    assert_eq!(said, format!("-- {one_name}\nxyz\n-- {two_name}\nuvw\n-- {one_name}\nxyz\n"));

    let line = "generate --model {} --adapter {} --prompt ab --max-new-tokens 6 --json --adapter-scale";
    let base = tunesmith("generate --model {} --prompt ab --max-new-tokens 6 --json", &[nano()]).good();
    let base = base.event("generated");
    assert!(base["adapter"].is_null() && base["text"] != "xyz");
    let none = tunesmith(&format!("{line} 0"), &[nano(), &one]).good().event("generated");
    assert_eq!(none["ids"], base["ids"]);
    assert_eq!(tunesmith(&format!("{line} 1"), &[nano(), &one]).good().event("generated")["text"], "xyz");
    let wrong = tunesmith(&format!("{line} 1.5"), &[nano(), &one]);
    assert!(wrong.code == Some(2) && wrong.err.contains("from 0 to 1"), "{}", wrong.err);

    let data = folder.join("xyz.jsonl");
    let loss = |scale: &str| {
        let line = format!("eval --model {{}} --adapter {{}} --data {{}} --json --adapter-scale {scale}");
        tunesmith(&line, &[nano(), &one, &data]).good().event("eval")["loss"].as_f64().unwrap()
    };
    assert!(loss("0") > loss("0.5") && loss("0.5") > loss("1"));
}
