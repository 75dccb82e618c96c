//! The record of a run in its first form, as a version wrote it that had no other: what came later reads it and goes on. Nothing in
//! `record-1` is ever made anew; a later form gets a folder of its own beside it.

use std::path::{Path, PathBuf};

use crate::support::*;

/// A copy of a record that was cut off, for a test to work in.
fn copy(name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/record-1");
    let to = folder(name);
    let inside = |folder: &str| {
        std::fs::create_dir_all(to.join(folder)).unwrap();
        for name in names(&from.join(folder)) {
            let path = Path::new(folder).join(name);
            if from.join(&path).is_file() {
                std::fs::copy(from.join(&path), to.join(&path)).unwrap();
            }
        }
    };
    inside("");
    inside("checkpoint-3");
    to
}

#[test]
fn the_first_form_is_listed_and_goes_on() {
    let out = copy("record-1");
    let before = metrics(&out);
    let listed = tunesmith("runs {}", &[&out]).good().out;
    assert!(listed.contains("lora") && listed.contains("nano"), "{listed}");
    tunesmith("train --resume --model {} --out {} --json", &[nano(), &out]).good();
    let after = metrics(&out);
    assert_eq!(after[..5], before[..5], "what came before the checkpoint is as it was");
    assert_eq!(after.len(), before.len());
    for (now, then) in after.iter().zip(&before) {
        assert_eq!((&now["event"], &now["step"]), (&then["event"], &then["step"]));
        let [now, then] = [now, then].map(|line| line["loss"].as_f64().unwrap());
        // Another driver rounds otherwise.
        assert!((now - then).abs() <= 1e-5 * then, "{now} and {then}");
    }
    assert!(out.join("adapter_model.safetensors").is_file());
}

/// A checkpoint holds the settings that decide its numbers, and says which of them is another. One that came with a later version is
/// none of them.
#[test]
fn a_setting_that_came_later_is_no_other_setting() {
    let out = folder("record-settings");
    let (data, run) = (file(&out, "rows.jsonl", EXAMPLES), out.join("run"));
    let train = "train --model {} --data {} --out {} --r 1 --max-steps 4 --save-steps 2";
    tunesmith(train, &[nano(), &data, &run]).good();
    std::fs::remove_dir_all(run.join("checkpoint-4")).unwrap();
    let progress = run.join("checkpoint-2/progress.json");
    let text = String::from_utf8(read(&progress)).unwrap();
    // As a version wrote it that did not know this setting, and had one that is gone.
    let earlier = text.replacen("    \"packing\": false,\n", "    \"of_before\": 3,\n", 1);
    assert_ne!(earlier, text);
    std::fs::write(&progress, &earlier).unwrap();
    let resum = |run: &Path| {
        // Only the sums know that it was changed.
        let sums = String::from_utf8(read(run.join("checkpoint-2/SHA256SUMS"))).unwrap();
        let hash = tunesmith::record::sha256(&read(run.join("checkpoint-2/progress.json")));
        let line = |line: &str| match line.split_once("  ") {
            Some((_, "progress.json")) => format!("{hash}  progress.json\n"),
            _ => format!("{line}\n"),
        };
        std::fs::write(run.join("checkpoint-2/SHA256SUMS"), sums.lines().map(line).collect::<String>()).unwrap();
    };
    resum(&run);
    tunesmith("train --resume --model {} --out {}", &[nano(), &run]).good();
    std::fs::remove_dir_all(run.join("checkpoint-4")).unwrap();
    std::fs::write(&progress, text.replacen("\"seed\": 42", "\"seed\": 43", 1)).unwrap();
    resum(&run);
    let said = tunesmith("train --resume --model {} --out {}", &[nano(), &run]).err;
    assert!(said.contains("settings are not those of this checkpoint: seed is 42, and was 43"), "{said}");
}
