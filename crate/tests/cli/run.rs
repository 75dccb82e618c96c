//! `train` and `eval`: files and events, repetition, checkpoints, adapters to start from.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::*;

/// Accumulation, shuffling and (for LoRA) dropout: all that a resumed run must take up again.
const RUN: &str = "--json --max-steps 7 --save-steps 3 --gradient-accumulation-steps 2 --warmup-ratio 0.3 --seed 5";
const METHODS: [&str; 2] = [
    "--method lora --r 3 --lora-dropout 0.2 --target-modules q_proj,down_proj --learning-rate 1e-2",
    "--method prompt --num-virtual-tokens 3 --learning-rate 3e-2",
];

fn train(flags: &str, data: &Path, out: &Path) -> Outcome {
    tunesmith(&format!("train --model {{}} --data {{}} --out {{}} {flags}"), &[nano(), data, out])
}

#[test]
fn a_run_leaves_its_files_and_tells_its_events() {
    let folder = folder("files");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("deep/out"));
    let line = "train --model {} --data {} --eval-data {} --out {} --json --profile --num-train-epochs 8 --eval-steps 5 \
                --logging-steps 2 --learning-rate 2e-2 --r 4";
    let run = tunesmith(line, &[nano(), &data, &data, &out]).good();

    let events = run.events();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    // 5 examples, 4 a step: 2 steps an epoch. The held-out loss comes first, every 5 steps and last.
    assert_eq!(kinds.iter().filter(|kind| **kind == "step").count(), 8);
    assert_eq!(kinds.iter().filter(|kind| **kind == "eval").count(), 5);
    assert_eq!((kinds[0], kinds[1]), ("start", "eval"));
    assert_eq!(kinds[kinds.len() - 3..], ["eval", "checkpoint", "done"]);
    assert_eq!(events[0]["config"]["max_steps"], 16);
    assert_eq!(events[0]["method"]["peft_type"], "LORA");
    let done = events.last().unwrap();
    assert_eq!((&done["steps"], done["path"].as_str()), (&16.into(), out.to_str()));
    let losses: Vec<f64> =
        events.iter().filter(|event| event["event"] == "eval").map(|event| event["loss"].as_f64().unwrap()).collect();
    assert!(losses[4] < 0.7 * losses[0], "{losses:?}");
    assert!(run.err.lines().count() == 1 && run.err.contains("dispatches and"), "{}", run.err);

    assert_eq!(
        names(&out),
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "checkpoint-16",
            "held-out.jsonl",
            "metrics.jsonl",
            "record.json",
            "rows.jsonl",
            "run.json",
            "trainer_state.json"
        ]
    );
    assert_eq!(metrics(&out).len(), 13);
    let json = |name: &str| -> Value { serde_json::from_slice(&read(out.join(name))).unwrap() };
    assert_eq!(json("run.json"), events[0]["config"]);
    assert_eq!(json("adapter_config.json")["r"], 4);
    let state = json("trainer_state.json");
    let history = state["log_history"].as_array().unwrap();
    assert_eq!((&state["global_step"], history.len()), (&16.into(), 13));
    assert_eq!((&history[12]["eval_loss"], &history[12]["epoch"]), (&losses[4].into(), &8.0.into()));

    // The adapter gives the loss that the run ended with.
    let eval = tunesmith("eval --model {} --adapter {} --data {} --json", &[nano(), &out, &data]).good();
    let eval = eval.event("eval");
    assert_eq!(eval["loss"], losses[4]);
    let examples = eval["examples"].as_array().unwrap();
    let tokens: Vec<u64> = examples.iter().map(|example| example["tokens"].as_u64().unwrap()).collect();
    assert_eq!(tokens, [4, 4, 4, 5, 2], "in file order");
    let base = tunesmith("eval --model {} --data {}", &[nano(), &data]).good();
    assert!(base.out.lines().last().unwrap().contains(&format!("{:.4}", losses[0])), "{}", base.out);
}

#[test]
fn the_same_run_again_gives_the_same_bits() {
    let folder = folder("again");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    for (index, method) in METHODS.iter().enumerate() {
        let outs = ["one", "two"].map(|name| folder.join(format!("{name}-{index}")));
        outs.iter().for_each(|out| drop(train(&format!("{RUN} {method}"), &data, out).good()));
        assert_eq!(metrics(&outs[0]), metrics(&outs[1]));
        // Two of them tell the time.
        let same =
            |name: &&String| !name.starts_with("checkpoint") && !["metrics.jsonl", "record.json"].contains(&&***name);
        for name in names(&outs[0]).iter().filter(same) {
            assert!(read(outs[0].join(name)) == read(outs[1].join(name)), "{method}: {name}");
        }
    }
}

#[test]
fn a_resumed_run_is_the_run_that_never_stopped() {
    let folder = folder("resume");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    for (index, method) in METHODS.iter().enumerate() {
        let flags = format!("{RUN} {method}");
        let (whole, stopped) = (folder.join(format!("whole-{index}")), folder.join(format!("stopped-{index}")));
        train(&flags, &data, &whole).good();
        assert_eq!(names(&whole).iter().filter(|name| name.starts_with("checkpoint-")).count(), 3);

        // As if it was killed in step 5: settings, five lines and a half, a checkpoint, and a draft of another.
        std::fs::create_dir_all(stopped.join("checkpoint-3")).unwrap();
        std::fs::create_dir(stopped.join(".draft-checkpoint-6")).unwrap();
        for name in names(&whole.join("checkpoint-3")) {
            file(&stopped.join("checkpoint-3"), &name, read(whole.join("checkpoint-3").join(&name)));
        }
        for name in ["run.json", "record.json", "rows.jsonl"] {
            file(&stopped, name, read(whole.join(name)));
        }
        let lines = String::from_utf8(read(whole.join("metrics.jsonl"))).unwrap();
        let half = lines.match_indices('\n').nth(4).unwrap().0 + 20;
        file(&stopped, "metrics.jsonl", &lines[..half]);

        // The rows lie in the folder.
        let line = format!("train --model {{}} --out {{}} {flags} --resume");
        let run = tunesmith(&line, &[nano(), &stopped]).good();
        let steps: Vec<Value> =
            run.events().iter().filter(|e| e["event"] == "step").map(|e| e["step"].clone()).collect();
        assert_eq!(steps, [4, 5, 6, 7]);
        assert_eq!(names(&stopped), names(&whole));
        assert_eq!(metrics(&stopped), metrics(&whole));
        for name in
            ["adapter_model.safetensors", "trainer_state.json", "run.json", "checkpoint-7/optimizer.safetensors"]
        {
            assert!(read(stopped.join(name)) == read(whole.join(name)), "{method}: {name}");
        }
        // A run that is done stays as it is.
        let before = read(stopped.join("adapter_model.safetensors"));
        train("--json --resume", &data, &stopped).good();
        assert!(read(stopped.join("adapter_model.safetensors")) == before);
    }
}

#[test]
fn questions_are_asked_along_the_way() {
    let folder = folder("samples");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let flags = "--json --max-steps 4 --eval-steps 2 --r 2 --samples 2 --learning-rate 1e-2";
    let run = train(flags, &data, &out).good();
    let samples: Vec<Value> = run.events().into_iter().filter(|event| event["event"] == "sample").collect();
    let of = |name: &str| samples.iter().map(|sample| sample[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("step"), [2, 2, 4, 4]);
    assert_eq!(of("prompt"), ["a?", "e?", "a?", "e?"]);
    // Those of the end are what the adapter answers.
    for (sample, question) in samples[2..].iter().zip(["a?", "e?"]) {
        let line = format!("generate --model {{}} --adapter {{}} --prompt {question} --max-new-tokens 48 --json");
        let answer = tunesmith(&line, &[nano(), &out]).good().event("generated");
        assert_eq!(sample["text"], answer["text"]);
    }
    let kept = String::from_utf8(read(out.join("metrics.jsonl"))).unwrap();
    assert_eq!(kept.matches("\"event\":\"sample\"").count(), 4);
    let state: Value = serde_json::from_slice(&read(out.join("trainer_state.json"))).unwrap();
    assert_eq!(state["log_history"].as_array().unwrap().len(), 4);
}

#[test]
fn a_report_has_the_mean_loss_since_the_last() {
    let folder = folder("reports");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    let out = |name: &str| folder.join(name);
    let flags = "--json --max-steps 8 --save-steps 4 --learning-rate 1e-2 --r 2";
    train(flags, &data, &out("each")).good();
    let flags = format!("{flags} --logging-steps 3");
    train(&flags, &data, &out("whole")).good();

    let mut expected = Vec::new();
    for steps in metrics(&out("each")).chunks(3) {
        let losses: f64 = steps.iter().map(|step| step["loss"].as_f64().unwrap()).sum();
        let mut last = steps.last().unwrap().clone();
        last["loss"] = (losses / steps.len() as f64).into();
        expected.push(last);
    }
    assert_eq!(expected.iter().map(|step| step["step"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 6, 8]);
    assert_eq!(metrics(&out("whole")), expected);
    let state: Value = serde_json::from_slice(&read(out("whole").join("trainer_state.json"))).unwrap();
    let history = state["log_history"].as_array().unwrap();
    assert!(history.iter().map(|entry| &entry["loss"]).eq(expected.iter().map(|step| &step["loss"])), "{state}");

    // As if it was killed in step 6: its report begins at step 4, and the checkpoint is from there.
    std::fs::create_dir_all(out("stopped").join("checkpoint-4")).unwrap();
    for name in names(&out("whole").join("checkpoint-4")) {
        file(&out("stopped").join("checkpoint-4"), &name, read(out("whole").join("checkpoint-4").join(&name)));
    }
    file(&out("stopped"), "run.json", read(out("whole").join("run.json")));
    let lines = String::from_utf8(read(out("whole").join("metrics.jsonl"))).unwrap();
    file(&out("stopped"), "metrics.jsonl", &lines[..=lines.find('\n').unwrap()]);
    train(&format!("{flags} --resume"), &data, &out("stopped")).good();
    assert_eq!(metrics(&out("stopped")), expected);
    for name in ["trainer_state.json", "checkpoint-8/progress.json"] {
        assert!(read(out("stopped").join(name)) == read(out("whole").join(name)), "{name}");
    }
}

#[test]
fn a_run_is_resumed_only_as_it_was() {
    let folder = folder("resume-only");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let fails = |flags: &str, data: &Path, out: &Path, what: &str, help: &str| {
        let run = train(&format!("--json {flags}"), data, out);
        let error = run.event("error");
        assert_eq!(run.code, Some(1));
        let has = |part: &str, key: &str| assert!(error[key].as_str().unwrap().contains(part), "{part}: {error}");
        has(what, "message");
        has(help, "hint");
    };
    fails("--resume", &data, &out, "no run to resume", "leave out --resume");
    train("--json --max-steps 2 --r 2", &data, &out).good();
    let before = read(out.join("metrics.jsonl"));
    fails("--max-steps 2 --r 2", &data, &out, "run.json in this folder already", "--resume");
    fails("--resume --r 3", &data, &out, "r: 3 was asked for", "leave it out");
    fails("--resume --max-steps 9", &data, &out, "max_steps", "--init-adapter");
    let other = file(&folder, "other.jsonl", "{\"text\":\"other\"}\n");
    fails("--resume", &other, &out, "other examples", "the data that the run began with");
    assert_eq!(read(out.join("metrics.jsonl")), before);
    std::fs::remove_dir_all(out.join("checkpoint-2")).unwrap();
    fails("--resume", &data, &out, "no checkpoint", "--save-steps");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let folder = folder("damaged");
    let (data, out, whole) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"), folder.join("whole"));
    let flags = "--json --max-steps 9 --save-steps 3 --r 2 --seed 5";
    train(flags, &data, &whole).good();
    train(flags, &data, &out).good();
    let optimizer = out.join("checkpoint-9/optimizer.safetensors");
    let mut bytes = read(&optimizer);
    *bytes.last_mut().unwrap() ^= 4;
    std::fs::write(&optimizer, bytes).unwrap();
    std::fs::write(out.join("checkpoint-6/progress.json"), "{").unwrap();
    let run = train("--json --resume", &data, &out).good();
    let of = |kind: &str| -> Vec<Value> { run.events().into_iter().filter(|event| event["event"] == kind).collect() };
    let warnings = of("warning");
    let says = |at: usize, what: &str| warnings[at]["message"].as_str().unwrap().contains(what);
    assert!(says(0, "checkpoint-9 is damaged: optimizer.safetensors is not what was written"), "{warnings:?}");
    assert!(says(1, "checkpoint-6 is damaged: progress.json") && says(1, "goes on from"), "{warnings:?}");
    assert_eq!((of("step")[0]["step"].as_u64(), warnings.len()), (Some(4), 2));
    for name in ["adapter_model.safetensors", "checkpoint-9/optimizer.safetensors", "trainer_state.json"] {
        assert!(read(out.join(name)) == read(whole.join(name)), "{name}: other bits");
    }
    assert_eq!(metrics(&out), metrics(&whole));
}

#[test]
fn a_run_goes_on_with_its_own_weights_settings_and_place_alone() {
    let folder = folder("resume-other");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    train("--json --max-steps 4 --save-steps 2 --r 2 --gradient-accumulation-steps 1", &data, &out).good();
    let refused = |model: &Path, what: &str| {
        let run = tunesmith("train --model {} --data {} --out {} --json --resume", &[model, &data, &out]);
        assert_eq!(run.code, Some(1), "{what}: {}{}", run.out, run.err);
        let error = run.event("error");
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
    };
    let mut weights = read(nano());
    *weights.last_mut().unwrap() ^= 1;
    std::fs::create_dir_all(folder.join("other")).unwrap();
    refused(&file(&folder.join("other"), "nano.gguf", weights), "other weights");

    let settings = String::from_utf8(read(out.join("run.json"))).unwrap();
    for (own, other) in [("\"seed\": 42", "\"seed\": 43"), ("\"learning_rate\": 0.0002", "\"learning_rate\": 0.0003")] {
        assert!(settings.contains(own), "{settings}");
        file(&out, "run.json", settings.replace(own, other));
        refused(nano(), "settings are not those of this checkpoint");
    }
    // How often a checkpoint is written changes no number.
    file(&out, "run.json", settings.replace("\"save_steps\": 2", "\"save_steps\": 3"));
    train("--json --resume", &data, &out).good();
    file(&out, "run.json", settings);

    // Sums say what was damaged, not what was made up.
    for name in ["checkpoint-4/SHA256SUMS", "record.json"] {
        std::fs::remove_file(out.join(name)).unwrap();
    }
    let path = out.join("checkpoint-4/progress.json");
    let mut progress: Value = serde_json::from_slice(&read(&path)).unwrap();
    for queue in ["[[0,0,0,0,0]]", "[[]]", "[[99]]"] {
        progress["queue"] = serde_json::from_str(queue).unwrap();
        file(&out.join("checkpoint-4"), "progress.json", progress.to_string());
        refused(nano(), "the examples that it has still to learn are none of this run's");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_after_the_step_and_keeps_it() {
    let folder = folder("ctrl-c");
    let (data, out, whole) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"), folder.join("whole"));
    let flags = "--json --max-steps 30 --r 2 --seed 3";
    let args = words(&format!("train --model {{}} --data {{}} --out {{}} {flags}"), &[nano(), &data, &out]);
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().find(|line| line.as_ref().unwrap().contains("\"step\":2,")).expect("a second step").unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last = rest.last().expect("a checkpoint is told");
    let step = last["step"].as_u64().unwrap();
    assert!(last["event"] == "checkpoint" && (3..30).contains(&step), "{rest:?}");
    assert_eq!(
        names(&out),
        [format!("checkpoint-{step}").as_str(), "metrics.jsonl", "record.json", "rows.jsonl", "run.json"]
    );
    assert_eq!(metrics(&out).len() as u64, step);

    train(&format!("{flags} --resume"), &data, &out).good();
    train(flags, &data, &whole).good();
    assert_eq!(metrics(&out), metrics(&whole));
    assert!(read(out.join("adapter_model.safetensors")) == read(whole.join("adapter_model.safetensors")));
}

#[test]
fn an_adapter_brings_its_settings_and_weights() {
    let folder = folder("init");
    let (data, first) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("first"));
    train("--json --max-steps 2 --r 3 --lora-alpha 5 --target-modules v_proj,o_proj", &data, &first).good();
    let from = |flags: &str, out: &str| {
        let line = format!("train --model {{}} --data {{}} --init-adapter {{}} --out {{}} --json {flags}");
        tunesmith(&line, &[nano(), &data, &first, &folder.join(out)])
    };
    // With a learning rate of 0 the weights stay.
    let run = from("--max-steps 1 --learning-rate 0 --lora-dropout 0.5 --target-modules o_proj,v_proj", "same").good();
    let config = run.event("start")["config"].clone();
    assert_eq!((&config["r"], &config["lora_alpha"], &config["lora_dropout"]), (&3.into(), &5.0.into(), &0.5.into()));
    let tensors = |out: &str| read(folder.join(out).join("adapter_model.safetensors"));
    assert!(tensors("same") == tensors("first"));
    from("--max-steps 1 --learning-rate 1e-3", "moved").good();
    assert!(tensors("moved") != tensors("first"));

    for (flags, what) in [
        ("--r 4", "r: 4 was asked for"),
        ("--method prompt", "method: \"prompt\" was asked for"),
        ("--target-modules all-linear", "target_modules: \"all-linear\" was asked for"),
    ] {
        let run = from(flags, "contradiction");
        let error = run.event("error");
        assert!(run.code == Some(1) && error["message"].as_str().unwrap().starts_with(what), "{error}");
        assert!(!folder.join("contradiction").exists());
    }
}
