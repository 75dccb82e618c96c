//! `generate`, `inspect` and `devices`.

use crate::support::*;

#[test]
fn generation_is_the_same_for_people_and_programs() {
    let line = "generate --model {} --prompt ab --max-new-tokens 6";
    let object = tunesmith(&format!("{line} --json"), &[nano()]).good().event("generated");
    assert_eq!((object["ids"].as_array().unwrap().len(), &object["stop"]), (6, &"length".into()));
    assert!(object["tokens_per_second"].as_f64().unwrap() > 0.0);
    let text = object["text"].as_str().unwrap();
    assert_eq!(tunesmith(line, &[nano()]).good().out, format!("{text}\n"));

    let other = |flags: &str| tunesmith(&format!("{line} --json {flags}"), &[nano()]).good().event("generated");
    assert_ne!(other("--raw")["ids"], object["ids"], "without the template");
    assert_ne!(other("--system cd")["ids"], object["ids"], "with a system message");
    let sampled = other("--temperature 5 --seed 1");
    assert_eq!(other("--temperature 5 --seed 1")["ids"], sampled["ids"]);
    assert_ne!(other("--temperature 5 --seed 2")["ids"], sampled["ids"]);
    assert_eq!(other("--temperature 5 --seed 2 --top-p 0.000001")["ids"], object["ids"], "the likeliest alone");
}

#[test]
fn answers_the_prompts_of_a_file_side_by_side() {
    let folder = folder("prompts");
    let rows = "{\"prompt\":\"ab\",\"answer\":1}\n\n{\"prompt\":[{\"role\":\"user\",\"content\":\"abc\"}]}\n\
        {\"messages\":[{\"role\":\"user\",\"content\":\"d\"},{\"role\":\"assistant\",\"content\":\"e\"}]}\n";
    let data = file(&folder, "prompts.jsonl", rows);
    let line = "generate --model {} --data {} --max-new-tokens 6";
    let answers = |flags: &str| {
        let mut events = tunesmith(&format!("{line} --json {flags}"), &[nano(), &data]).good().events();
        assert_eq!(events.pop().unwrap()["event"], "answered");
        events
    };
    let greedy = answers("");
    assert_eq!(greedy.iter().map(|event| event["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 4]);
    for (event, prompt) in greedy.iter().zip(["ab", "abc", "d"]) {
        let line = format!("generate --model {{}} --prompt {prompt} --max-new-tokens 6 --json");
        assert_eq!(tunesmith(&line, &[nano()]).good().event("generated")["ids"], event["ids"], "{prompt}");
        assert_eq!(event["logps"].as_array().unwrap().len(), 6);
    }
    // A sequence does not depend on how many are beside it.
    let ids = |events: Vec<serde_json::Value>| events.into_iter().map(|event| event["ids"].clone()).collect::<Vec<_>>();
    let many = "--num-return-sequences 3 --temperature 3 --seed 5";
    let sampled = ids(answers(&format!("{many} --batch-size 1")));
    assert_eq!((sampled.len(), &sampled), (9, &ids(answers(&format!("{many} --batch-size 4")))));
    assert!(sampled[0] != sampled[1] && sampled[1] != sampled[2], "answers to one prompt differ: {sampled:?}");
    let greedy = ids(greedy);
    for flags in ["--top-k 1", "--min-p 1", "--top-p 0.000001"] {
        assert_eq!(ids(answers(&format!("--temperature 3 {flags}"))), greedy, "{flags}");
    }
    assert_ne!(ids(answers("--repetition-penalty 100")), greedy);
    let people = tunesmith(&format!("{line} {many}"), &[nano(), &data]).good();
    assert!(
        people.out.starts_with("-- line 1, answer 1\n") && people.out.contains("\n-- line 4, answer 3\n"),
        "{}",
        people.out
    );
    assert!(people.err.contains("9 answers of "), "{}", people.err);
}

#[test]
fn a_tuned_model_answers_as_taught_and_stops() {
    let folder = folder("taught");
    let data = file(
        &folder,
        "data.jsonl",
        r#"{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"xyz"}]}"#,
    );
    let out = folder.join("out");
    let line = "train --model {} --data {} --out {} --max-steps 40 --learning-rate 2e-2 --lr-scheduler-type constant";
    let run = tunesmith(line, &[nano(), &data, &out]).good();
    assert!(run.out.is_empty() && run.err.contains("step 40  loss 0.0"), "{}", run.err);
    let answer = tunesmith("generate --model {} --adapter {} --prompt ab --json", &[nano(), &out]).good();
    let answer = answer.event("generated");
    assert_eq!((&answer["text"], &answer["stop"]), (&"xyz".into(), &"end".into()));
    let base = tunesmith("generate --model {} --prompt ab --max-new-tokens 3", &[nano()]).good();
    assert_ne!(base.out, "xyz\n");
}

#[test]
fn inspects_a_model() {
    let model = tunesmith("inspect {} --json", &[nano()]).good().event("model");
    assert_eq!((&model["config"]["layers"], &model["types"]["F32"]["tensors"]), (&2.into(), &20.into()));
    assert_eq!(
        model["parameters"],
        tunesmith_tests::golden::nano::weights().values().map(|(_, v)| v.len()).sum::<usize>()
    );
    let text = tunesmith("inspect {}", &[nano()]).good().out;
    assert!(text.starts_with("nano (llama)") && text.contains("add_generation_prompt"), "{text}");
}

#[test]
fn inspects_an_adapter() {
    let folder = folder("inspect-adapter");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let line = "train --model {} --data {} --out {} --json --max-steps 1 --r 2 --target-modules q_proj";
    tunesmith(line, &[nano(), &data, &out]).good();
    let adapter = tunesmith("inspect {} --json", &[&out]).good().event("adapter");
    assert_eq!((&adapter["config"]["r"], &adapter["parameters"]), (&2.into(), &(2 * 2 * (48 + 48)).into()));
    assert_eq!(adapter["tensors"][0]["shape"], serde_json::json!([2, 48]));
    assert!(tunesmith("inspect {}", &[&out]).good().out.contains("layers.1.self_attn.q_proj.lora_B.weight"));
}

#[test]
fn inspects_a_dataset_as_the_model_sees_it() {
    let folder = folder("inspect-dataset");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    let run = tunesmith("inspect {} --model {}", &[&data, nano()]).good();
    assert!(run.out.contains("<|im_start|>assistant\n[[bcd<|im_end|>]]\n"), "{}", run.out);
    // A question and its answer are a conversation, too, unless they are to be one text.
    assert!(run.out.contains("one<|im_end|>\n<|im_start|>assistant\n[[two<|im_end|>]]\n"), "{}", run.out);
    assert_eq!(run.out.matches("-- line").count(), 3);
    let raw = tunesmith("inspect {} --model {} --raw", &[&data, nano()]).good().out;
    assert!(raw.contains("one[[ two<|im_end|>]]") || raw.contains("one [[two<|im_end|>]]"), "{raw}");

    let bad = file(&folder, "bad.jsonl", format!("{EXAMPLES}{{\"txt\":1}}\nno\n"));
    let run = tunesmith("inspect {} --model {} --json --max-length 4", &[&bad, nano()]);
    let events = run.events();
    let lines: Vec<_> = events.iter().filter(|e| e["event"] == "example").map(|e| e["line"].clone()).collect();
    assert_eq!((run.code, lines), (Some(1), vec![4.into(), 5.into()]));
    assert_eq!(run.event("dataset")["errors"], 5);
    assert!(run.err.contains("line 6: ") && run.err.contains("line 7: ") && run.err.contains("past max_length"));
    assert!(run.err.contains("error: ") && run.err.contains("5 of 7 rows cannot be used"), "{}", run.err);
}

/// Two pairs, of which the second begins with its prompt, and has a margin.
const PAIRS: &str = r#"{"prompt":[{"role":"user","content":"a?"}],"chosen":[{"role":"assistant","content":"bcd"}],"rejected":[{"role":"assistant","content":"e"}]}
{"chosen":"one two","rejected":"one six","margin":0.5}
"#;

#[test]
fn inspects_both_sides_of_a_preference() {
    let folder = folder("inspect-preference");
    let data = file(&folder, "data.jsonl", PAIRS);
    let run = tunesmith("inspect {} --model {} --objective dpo", &[&data, nano()]).good();
    let sides = "-- line 1, chosen: 25 tokens, 4 of them compared\n\
        <|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n[[bcd<|im_end|>]]\n\
        -- line 1, rejected: 23 tokens, 2 of them compared\n\
        <|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n[[e<|im_end|>]]\n\
        -- line 2, chosen: ";
    assert!(run.out.contains(sides), "{}", run.out);
    assert!(run.out.ends_with(" (compared: 16)\n") && run.out.contains("\npairs 2 (cut: 0), "), "{}", run.out);
    assert!(run.err.contains("warning: ") && run.err.contains("line 2: \"margin\" is not read"), "{}", run.err);

    let run = tunesmith("inspect {} --model {} --objective reward --json", &[&data, nano()]).good();
    let events = run.events();
    let pair = &events[1];
    assert_eq!((&pair["event"], &pair["line"], &pair["margin"]), (&"example".into(), &2.into(), &0.5.into()));
    assert_eq!(
        (&pair["chosen"], &pair["rejected"]),
        (
            &serde_json::json!([{"text": "one", "target": false}, {"text": " two<|im_end|>", "target": true}]),
            &serde_json::json!([{"text": "one", "target": false}, {"text": " six<|im_end|>", "target": true}]),
        )
    );
    let length = |name: &str| pair[name].as_array().unwrap().len();
    assert_eq!(["prompt_ids", "chosen_ids", "rejected_ids"].map(length), [3, 5, 5]);
    let set = run.event("dataset");
    assert_eq!((&set["objective"], &set["pairs"], &set["examples"]), (&"reward".into(), &2.into(), &2.into()));
    assert!(events.iter().all(|event| event["event"] != "warning"), "{}", run.out);

    // To KTO a pair is two answers with labels.
    let judged = r#"{"prompt":"f ","completion":"g","label":false}"#;
    let data = file(&folder, "judged.jsonl", format!("{PAIRS}{judged}\n"));
    let run = tunesmith("inspect {} --model {} --objective kto", &[&data, nano()]).good();
    assert!(run.out.contains("-- line 1, good: 25 tokens, 4 of them learnt\n"), "{}", run.out);
    assert!(
        run.out.contains("-- line 3, bad: ") && run.out.contains("f<|im_end|>\n<|im_start|>assistant\n[[g<|im_end|>]]"),
        "{}",
        run.out
    );
    assert!(run.out.contains("\nanswers 5 (good: 2, bad: 3; cut: 0), "), "{}", run.out);
    let run = tunesmith("inspect {} --model {} --objective kto --json", &[&data, nano()]).good();
    let events = run.events();
    let labels: Vec<_> = events.iter().filter_map(|event| event["label"].as_bool()).collect();
    assert_eq!(labels, [true, false, true, false, false]);
    assert_eq!((&run.event("dataset")["good"], &run.event("dataset")["bad"]), (&2.into(), &3.into()));
}

#[test]
fn lists_devices() {
    let run = tunesmith("devices --json", &[]).good();
    let devices = run.events();
    assert!(!devices.is_empty());
    for device in devices {
        assert!(device["event"] == "device" && !device["name"].as_str().unwrap().is_empty());
        assert!(device["limits"]["maxStorageBufferBindingSize"].as_u64().unwrap() >= 128 << 20);
    }
    assert!(tunesmith("devices", &[]).good().out.contains("maxStorageBuffersPerShaderStage"));
}
