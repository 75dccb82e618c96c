//! The folder of a run: what `train` leaves alone in it, what it clears away, and when a new run may begin in it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::*;

/// The line that trains into a folder, for a few quick steps.
const TRAIN: &str = "train --model {} --data {} --out {} --json --r 2";

/// Settings with which gradients soon are not finite.
const BLOW_UP: &str = "--learning-rate 10 --lora-alpha 1000000 --max-grad-norm 0 --adam-beta2 0 --max-steps 10";

/// The message and the hint of a run that failed.
fn failed(run: Outcome) -> [String; 2] {
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    let error = run.event("error");
    ["message", "hint"].map(|key| error[key].as_str().expect("a text").to_owned())
}

/// The message of a run that failed.
fn refused(run: Outcome) -> String {
    let [message, _] = failed(run);
    message
}

#[test]
fn only_drafts_of_a_run_are_removed() {
    let folder = folder("drafts");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let inside = |name: &str, files: &[&str]| {
        let path = out.join(name);
        std::fs::create_dir_all(&path).unwrap();
        files.iter().for_each(|name| drop(file(&path, name, "half")));
    };
    // What a run may leave that is killed while it writes.
    inside(".draft-checkpoint-3", &["adapter_config.json", "adapter_model.safetensors", "README.md"]);
    inside(".draft-checkpoint-12", &["optimizer.safetensors", "progress.json", "trainer_state.json"]);
    file(&out, ".draft-run.json", "{\"half");
    file(&out, ".draft-README.md", "---");
    // What a person may call so.
    let theirs = [
        ".draft-checkpoint-03",
        ".draft-checkpoint-3.txt",
        ".draft-checkpoint-notes",
        ".draft-run.json.bak",
        ".draft-thesis.txt",
    ];
    theirs.iter().for_each(|name| drop(file(&out, name, "theirs")));
    inside(".draft-metrics", &["thesis.txt"]);
    tunesmith(&format!("{TRAIN} --max-steps 1"), &[nano(), &data, &out]).good();
    let drafts: Vec<String> = names(&out).into_iter().filter(|name| name.starts_with(".draft-")).collect();
    let mut expected = theirs.to_vec();
    expected.insert(3, ".draft-metrics");
    assert_eq!(drafts, expected);
    assert!(theirs.iter().all(|name| read(out.join(name)) == b"theirs"));
    assert_eq!(names(&out.join(".draft-metrics")), ["thesis.txt"]);
}

#[test]
fn what_takes_the_place_of_a_draft_stays() {
    let folder = folder("no-drafts");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    let out = folder.join("out");
    let checkpoint = out.join(".draft-checkpoint-1");
    std::fs::create_dir_all(&checkpoint).unwrap();
    file(&checkpoint, "README.md", "half");
    let thesis = file(&checkpoint, "thesis.txt", "theirs");
    let train = || tunesmith(&format!("{TRAIN} --max-steps 1"), &[nano(), &data, &out]);
    let message = refused(train());
    assert!(message.ends_with(".draft-checkpoint-1: there is a thesis.txt in it, which no run wrote"), "{message}");
    assert_eq!((names(&out), names(&checkpoint).len()), (vec![".draft-checkpoint-1".into()], 2));
    assert_eq!(read(thesis), b"theirs");

    std::fs::remove_dir_all(&checkpoint).unwrap();
    file(&out, ".draft-checkpoint-1", "theirs");
    assert!(refused(train()).contains("no folder that a run wrote"));
    assert_eq!(read(&checkpoint), b"theirs");
    std::fs::remove_file(&checkpoint).unwrap();

    std::fs::create_dir(out.join(".draft-run.json")).unwrap();
    assert!(refused(train()).contains(".draft-run.json"));
    assert_eq!(names(&out), [".draft-run.json"]);
}

#[cfg(unix)]
#[test]
fn a_draft_is_not_written_through_a_link() {
    let folder = folder("link");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let thesis = file(&folder, "thesis.txt", "theirs");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&thesis, out.join(".draft-metrics.jsonl")).unwrap();
    let message = refused(tunesmith(&format!("{TRAIN} --max-steps 1"), &[nano(), &data, &out]));
    assert!(message.contains(".draft-metrics.jsonl"), "{message}");
    assert_eq!((read(thesis), names(&out)), (b"theirs".to_vec(), vec![".draft-metrics.jsonl".to_owned()]));
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_makes_room() {
    let folder = folder("blow-up");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let train = |flags: &str| tunesmith(&format!("{TRAIN} {flags}"), &[nano(), &data, &out]);
    let [message, hint] = failed(train(BLOW_UP));
    assert!(message.ends_with("is not finite"), "{message}");
    assert!(hint.ends_with("no checkpoint was written, so a new run may begin in this folder"), "{hint}");
    assert_eq!(names(&out), ["metrics.jsonl", "record.json", "rows.jsonl", "run.json"]);

    let [message, hint] = failed(train("--resume"));
    assert!(message.ends_with("the run in this folder has no checkpoint to resume from"), "{message}");
    assert!(hint.starts_with("begin again without --resume, in this or another folder"), "{hint}");
    train("--max-steps 2").good();
    assert_eq!(metrics(&out).len(), 2);
    assert!(names(&out).contains(&"adapter_model.safetensors".to_owned()));
}

#[test]
fn a_run_that_failed_keeps_its_checkpoints_and_their_settings() {
    let folder = folder("kept");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    // It fails before its first report.
    let flags = "--logging-steps 10 --save-steps 1";
    let [_, hint] = failed(tunesmith(&format!("{TRAIN} {BLOW_UP} {flags}"), &[nano(), &data, &out]));
    let checkpoints: Vec<String> = names(&out).into_iter().filter(|name| name.starts_with("checkpoint-")).collect();
    let newest = format!("{} has the adapter as it was after step {}", checkpoints.last().unwrap(), checkpoints.len());
    assert!(hint.ends_with(&newest), "{hint}");
    let before = (names(&out), read(out.join("run.json")));
    assert!(before.0.contains(&"run.json".to_owned()) && before.0.contains(&"metrics.jsonl".to_owned()), "{before:?}");
    let message = refused(tunesmith(&format!("{TRAIN} --resume"), &[nano(), &data, &out]));
    assert!(message.ends_with("is not finite"), "{message}");
    assert_eq!((names(&out), read(out.join("run.json"))), before);
}

#[test]
fn a_new_run_begins_where_nothing_is_lost_and_nowhere_else() {
    let folder = folder("room");
    let (data, whole) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("whole"));
    let train = |out: &Path| tunesmith(&format!("{TRAIN} --max-steps 2"), &[nano(), &data, out]);
    train(&whole).good();
    let [settings, lines, about] =
        ["run.json", "metrics.jsonl", "record.json"].map(|name| String::from_utf8(read(whole.join(name))).unwrap());
    let half = &lines[..lines.len() - 9];
    let folder_with = |name: &str, files: &[(&str, &str)]| {
        let out = folder.join(name);
        for (name, text) in files {
            std::fs::create_dir_all(out.join(name).parent().unwrap()).unwrap();
            file(&out, name, text);
        }
        out
    };
    // What a run leaves that is killed, at one moment after the other.
    for (index, left) in [
        &[(".draft-metrics.jsonl", "")][..],
        &[("metrics.jsonl", "")],
        &[("metrics.jsonl", ""), (".draft-run.json", &settings[..40])],
        &[("metrics.jsonl", ""), (".draft-record.json", &about[..40])],
        &[("metrics.jsonl", ""), ("record.json", &about)],
        &[("metrics.jsonl", ""), ("record.json", &about), ("run.json", &settings)],
        &[("metrics.jsonl", half), ("record.json", &about), ("run.json", &settings), ("rows.jsonl", EXAMPLES)],
        &[("metrics.jsonl", &lines), ("run.json", &settings), (".draft-checkpoint-2/README.md", "---")],
    ]
    .iter()
    .enumerate()
    {
        let out = folder_with(&format!("left-{index}"), left);
        train(&out).good();
        assert_eq!(names(&out), names(&whole), "{left:?}");
        assert_eq!(metrics(&out), metrics(&whole), "{left:?}");
    }
    let by_hand = settings.replace("  ", " ");
    for (index, (taken, files)) in [
        ("run.json", &[("run.json", &settings[..])][..]),
        ("run.json", &[("run.json", &by_hand), ("metrics.jsonl", &lines)]),
        ("run.json", &[("run.json", "{\"r\": 2}\n"), ("metrics.jsonl", "")]),
        ("run.json", &[("run.json", &settings), ("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]),
        ("metrics.jsonl", &[("metrics.jsonl", "Dear diary")]),
        ("run.json", &[("run.json", &settings), ("metrics.jsonl", &lines), ("trainer_state.json", "{}")]),
        ("run.json", &[("run.json", &settings), ("metrics.jsonl", &lines), ("adapter_model.safetensors", "")]),
        ("run.json", &[("run.json", &settings), ("metrics.jsonl", &lines), ("checkpoint-2/README.md", "")]),
        ("metrics.jsonl", &[("metrics.jsonl", ""), ("README.md", "theirs")]),
        ("record.json", &[("record.json", &about)]),
        ("metrics.jsonl", &[("metrics.jsonl", ""), ("record.json", &about), ("rows.jsonl", "theirs")]),
        ("metrics.jsonl", &[("metrics.jsonl", ""), ("record.json", "{\"version\": 7}\n")]),
        ("checkpoint-4", &[("checkpoint-4/thesis.txt", "theirs")]),
    ]
    .iter()
    .enumerate()
    {
        let out = folder_with(&format!("taken-{index}"), files);
        let before = names(&out);
        let message = refused(train(&out));
        assert!(message.contains(&format!("there is a {taken} in this folder already")), "{message}");
        assert_eq!(names(&out), before);
        assert!(files.iter().all(|(name, text)| read(out.join(name)) == text.as_bytes()), "{files:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_with_a_run_at_work_is_refused() {
    let folder = folder("at-work");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let long = words(&format!("{TRAIN} --max-steps 100000"), &[nano(), &data, &out]);
    let mut first = command(long).stdout(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(first.stdout.take().unwrap()).lines();
    let a_step = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"] == "step";
    events.by_ref().map(Result::unwrap).find(a_step).expect("a step");
    let second = |flags: &str| tunesmith(&format!("{TRAIN} {flags}"), &[nano(), &data, &out]);
    for flags in ["--max-steps 1", "--resume"] {
        assert!(refused(second(flags)).ends_with("another run is at work in this folder"));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    second("--max-steps 1").good();
    assert_eq!(metrics(&out).len(), 1);
}
