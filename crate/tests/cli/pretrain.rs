//! `pretrain`.

use serde_json::Value;

use crate::support::*;

/// Some text, in sentences that come again and again.
fn text() -> String {
    let sentence = |i: usize| {
        let [who, what, where_] =
            [["The cat", "A bird", "My dog"][i % 3], ["sleeps", "sings"][i % 2], ["here", "there", "now"][i / 2 % 3]];
        format!("{who} {what} {where_}, and nobody minds.\n")
    };
    (0..240).map(sentence).collect()
}

/// The events of a kind.
fn of_kind(said: &Outcome, kind: &str) -> Vec<Value> {
    said.events().into_iter().filter(|event| event["event"] == kind).collect()
}

const SMALL: &str = "--shape 1m --vocab-size 300 --max-length 32 --learning-rate 3e-3 --warmup-steps 0 --json";

#[test]
fn a_model_from_nothing() {
    let folder = folder("pretrain");
    let (data, out) = (file(&folder, "words.txt", text()), folder.join("out"));
    let line =
        format!("pretrain --data {{}} --out {{}} {SMALL} --max-steps 8 --eval-steps 4 --save-steps 4 --samples 1");
    let said = tunesmith(&line, &[&data, &out]).good();
    assert!(said.err.contains("tokens to learn from") && said.err.contains("for each parameter"), "{}", said.err);
    let evals = of_kind(&said, "eval");
    let bits: Vec<f64> = evals.iter().map(|event| event["metrics"]["bits_per_byte"].as_f64().unwrap()).collect();
    // Before the first step a token is one of 300.
    assert!(bits.len() == 3 && bits.is_sorted_by(|a, b| a > b), "{bits:?}");
    assert!((evals[0]["loss"].as_f64().unwrap() - 300_f64.ln()).abs() < 0.1, "{}", evals[0]);
    assert!(!of_kind(&said, "sample").is_empty());
    assert_eq!(names(&out), ["fresh.gguf", "model", "model.gguf", "run"]);
    assert_eq!(
        names(&out.join("model")),
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    );

    // The GGUF is the model that was evaluated, and a base like any other.
    let model = out.join("model.gguf");
    let held_out = out.join("run/held-out.jsonl");
    let eval = tunesmith("eval --model {} --data {} --json", &[&model, &held_out]).good().event("eval");
    let [found, want] = [&eval, &evals[2]].map(|event| event["loss"].as_f64().unwrap());
    assert!((found - want).abs() <= 1e-5 * want, "{found} for {want}");
    let raw = "generate --model {} --raw --prompt The --max-new-tokens 4 --json";
    assert!(tunesmith(raw, &[&model]).good().out.contains("text"));

    // The folder beside it is the same model.
    let model_folder = out.join("model");
    let of_folder = tunesmith("eval --model {} --data {} --json", &[&model_folder, &held_out]).good().event("eval");
    assert_eq!(of_folder["loss"], eval["loss"]);
    let [inspected, want] =
        [&model_folder, &model].map(|path| tunesmith("inspect {} --json", &[path]).good().event("model"));
    assert_eq!((&inspected["parameters"], &inspected["types"]), (&want["parameters"], &want["types"]));

    // Nothing is overwritten, and a run that was cut off ends the same.
    let again = tunesmith(&line, &[&data, &out]);
    assert!(again.code == Some(1) && again.err.contains("there is a run in this folder already"), "{}", again.err);
    let whole = read(&model);
    std::fs::remove_file(&model).unwrap();
    std::fs::remove_dir_all(out.join("model")).unwrap();
    for name in ["checkpoint-8", "adapter_model.safetensors", "adapter_config.json", "README.md"] {
        let path = out.join("run").join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    let resumed = tunesmith("pretrain --resume --out {} --json", &[&out]).good();
    assert_eq!(of_kind(&resumed, "step")[0]["step"], 5);
    assert!(read(&model) == whole, "a resumed run ends with the same bits");

    // The tokenizer of another model may be taken, and texts in JSONL.
    let (rows, other) = (
        file(&folder, "rows.jsonl", "{\"text\": \"The cat sleeps.\"}\n{\"text\": \"A bird sings.\"}\n"),
        folder.join("other"),
    );
    let line =
        "pretrain --data {} --out {} --tokenizer {} --shape 1m --max-length 16 --max-steps 1 --held-out 0 --json";
    let said = tunesmith(line, &[&rows, &other, nano()]).good();
    assert!(of_kind(&said, "eval").is_empty() && other.join("model.gguf").is_file(), "{}", said.err);
}

#[test]
fn what_cannot_be_learnt_leaves_nothing() {
    let folder = folder("pretrain-not");
    let out = folder.join("out");
    let words = file(&folder, "words.txt", text());
    let (blank, rows) =
        (file(&folder, "blank.txt", " \n"), file(&folder, "rows.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"b\"}\n"));
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (data, more, words) in [
        (&blank, "", "there is no text in it"),
        (&empty, "", "there is no text in it"),
        (&rows, "", "line 2: there is no text"),
        (&words, "--vocab-size 100", "100 tokens are too few"),
        (&folder.join("nowhere.txt"), "", "nowhere.txt"),
    ] {
        let said = tunesmith(&format!("pretrain --data {{}} --out {{}} {more}"), &[data, &out]);
        assert!(said.code == Some(1) && said.err.contains(words) && said.err.contains("help: "), "{}", said.err);
        assert!(!out.exists(), "{words}");
    }
    let resumed = tunesmith("pretrain --resume --out {}", &[&out]);
    assert!(resumed.code == Some(1) && resumed.err.contains("fresh.gguf"), "{}", resumed.err);
    let shape = tunesmith("pretrain --data {} --out {} --shape 6m", &[&words, &out]);
    assert!(shape.code == Some(2) && shape.err.contains("5m"), "{}", shape.err);
}
