//! Bad input: each ends with its exit code and two lines that say what is wrong and what to do, and leaves nothing.

use std::path::{Path, PathBuf};

use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf::Gguf;
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::format::source::MemorySource;

use crate::support::*;

/// Asserts a failure, to people and to programs, and gives what was on standard error.
fn fails(line: &str, paths: &[&Path], what: &str, help: &str) -> String {
    let run = tunesmith(line, paths);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{line}: {}", run.err);
    let starting = |start: &str| -> Vec<&str> { run.err.lines().filter_map(|line| line.strip_prefix(start)).collect() };
    let ([error], [hint]) = (&starting("error: ")[..], &starting("help: ")[..]) else { panic!("{}", run.err) };
    assert!(error.contains(what), "{what:?} is not in {error:?}");
    assert!(hint.contains(help), "{help:?} is not in {hint:?}");
    let lines: Vec<&str> = run.err.lines().collect();
    assert!(lines[lines.len() - 2].starts_with("error: ") && lines[lines.len() - 1].starts_with("help: "));

    let json = tunesmith(&format!("{line} --json"), paths);
    assert_eq!(json.code, Some(1));
    let event = json.event("error");
    assert_eq!((&event["message"], &event["hint"]), (&(*error).into(), &(*hint).into()));
    assert!(!event["code"].as_str().unwrap().is_empty());
    run.err
}

const TRAIN: &str = "train --model {} --data {} --out {}";

#[test]
fn models() {
    let folder = folder("bad-models");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    let nano = read(nano());
    let mut version = nano.clone();
    version[4] = 99;
    let mut corrupt = nano.clone();
    // The length of the first key.
    corrupt[24..32].fill(0xff);
    let supported = "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16";
    for (name, content, what, help) in [
        ("truncated.gguf", nano[..nano.len() / 2].to_vec(), "truncated.gguf: ", "download"),
        ("short.gguf", nano[..30].to_vec(), "short.gguf: ", "download"),
        ("empty.gguf", Vec::new(), "empty.gguf: ", ".gguf"),
        ("text.gguf", b"This is no model".to_vec(), "text.gguf: ", ".gguf"),
        ("version.gguf", version, "version 99", "GGUF"),
        ("corrupt.gguf", corrupt, "corrupt.gguf: ", "download"),
        ("mamba.gguf", GgufWriter::new("mamba").finish(), "architecture \"mamba\" is not supported", "llama"),
        ("mxfp4.gguf", requantized(&nano), "blk.0.ffn_down.weight is encoded as MXFP4", supported),
    ] {
        let model = file(&folder, name, content);
        fails(TRAIN, &[&model, &data, &out], what, help);
        fails("inspect {}", &[&model], what, help);
        assert!(!out.exists(), "{name}");
    }
    fails(TRAIN, &[&folder.join("none.gguf"), &data, &out], "none.gguf: ", "exists");
    fails(TRAIN, &[&folder, &data, &out], "the folder has no config.json", ".gguf");
    assert_eq!(names(&folder).len(), 9, "nothing but what the test made");
}

/// The nano model with one tensor in an encoding that we do not read.
fn requantized(nano: &[u8]) -> Vec<u8> {
    let nano = Gguf::open(Box::new(MemorySource::new("nano", nano.to_vec()))).unwrap();
    let mut file = GgufWriter::new("llama");
    for (key, value) in nano.metadata() {
        file.set(key, value.clone());
    }
    for tensor in nano.tensors() {
        let mut data = Vec::new();
        let each = |_, bytes: &[u8]| {
            data.extend_from_slice(bytes);
            Ok(())
        };
        nano.read_tensor_chunks(tensor, 1 << 20, each).unwrap();
        if tensor.name == "blk.0.ffn_down.weight" {
            let bytes = GgmlType::MXFP4.byte_len(tensor.elements()).unwrap();
            file.tensor(&tensor.name, &tensor.dims, GgmlType::MXFP4, vec![0; bytes as usize]);
        } else {
            file.tensor(&tensor.name, &tensor.dims, tensor.ty, data);
        }
    }
    file.finish()
}

#[test]
fn data() {
    let folder = folder("bad-data");
    let out = folder.join("out");
    let good = "{\"text\":\"good\"}\n";
    let no_reply = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n";
    let far = format!("{{\"prompt\":\"{}\",\"completion\":\"b\"}}\n", "a".repeat(50));
    let ids = "{\"input_ids\":[1,2,512]}\n";
    let judged = "{\"prompt\":\"a\",\"completion\":\"b\",\"label\":false}\n";
    let pair = "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n";
    for (name, content, what, help) in [
        ("empty.jsonl", b"".to_vec(), "there are no examples", "add at least one row"),
        ("blank.jsonl", b"\n \n".to_vec(), "there are no examples", "add at least one row"),
        ("json.jsonl", format!("{good}\nnot json\n").into(), "line 3: this is not JSON", "one JSON object"),
        ("twice.jsonl", format!("{good}{{\"text\":\"a\",\"text\":\"b\"}}").into(), "line 2: the key \"text\"", "once"),
        ("fields.jsonl", format!("{good}{{\"txt\":\"a\"}}").into(), "line 2: none of its fields", "rename \"txt\" to"),
        ("none.jsonl", format!("{good}{no_reply}").into(), "line 2: nothing in this example is learnt", "reply"),
        ("far.jsonl", format!("{good}{far}").into(), "line 2: all that is learnt lies past", "raise max_length to 52"),
        ("ids.jsonl", format!("{good}{ids}").into(), "line 2: the id 512 is past the vocabulary", "tokenizer"),
        ("judged.jsonl", format!("{good}{judged}").into(), "line 2: it has a label", "--objective kto"),
        ("pair.jsonl", format!("{good}{pair}").into(), "line 2: it has a chosen and a rejected", "--objective dpo"),
        ("bytes.jsonl", [good.as_bytes(), b"{\"text\":\"\xff\"}"].concat(), "line 2: this is not UTF-8", "UTF-8"),
    ] {
        let data = file(&folder, name, content);
        let flags = "--max-length 30 --raw";
        fails(&format!("{TRAIN} {flags}"), &[nano(), &data, &out], what, help);
        fails(&format!("eval --model {{}} --data {{}} {flags}"), &[nano(), &data], what, help);
        assert!(!out.exists(), "{name}");
    }
    fails(TRAIN, &[nano(), &folder.join("not-there.jsonl"), &out], "not-there.jsonl", "exists");

    // Several bad rows are all named before the one error; past ten they are counted.
    let rows: String = (0..12).map(|_| format!("{good}{{}}\n")).collect();
    let data = file(&folder, "many.jsonl", rows);
    let told =
        fails(TRAIN, &[nano(), &data, &out], "many.jsonl: 12 of 24 rows cannot be used", "correct the lines above");
    let line = |line: usize| told.contains(&format!("line {line}: the object is empty"));
    assert!(line(2) && line(20) && !line(22) && told.contains("\nand 2 more\n"), "{told}");
    assert!(!out.exists());
}

#[test]
fn a_long_example_is_cut_with_a_warning() {
    let folder = folder("long");
    let data = file(&folder, "data.jsonl", format!("{{\"text\":\"a\"}}\n{{\"text\":\"{}\"}}\n", "b".repeat(40)));
    let line = "train --model {} --data {} --out {} --json --max-length 8 --max-steps 1 --r 1 --packing";
    let run = tunesmith(line, &[nano(), &data, &folder.join("out")]).good();
    let warning = run.event("warning");
    assert_eq!(warning["code"], "truncated");
    assert!(warning["message"].as_str().unwrap().contains("line 2: cut to 8 tokens"), "{warning}");
    assert_eq!(run.event("step")["tokens"], 10);
}

#[test]
fn what_a_data_file_has_that_is_not_read_is_told() {
    let folder = folder("unread");
    let rows = "{\"text\":\"a\",\"lable\":1}\n{\"text\":\"<|im_start|>b\",\"lable\":0}\n";
    let data = file(&folder, "data.jsonl", rows);
    let line = "eval --model {} --data {}";
    let run = tunesmith(&format!("{line} --json"), &[nano(), &data]).good();
    let warnings: Vec<_> = run.events().into_iter().filter(|event| event["event"] == "warning").collect();
    let told = |index: usize, code: &str, message: &str| {
        let warning = &warnings[index];
        assert!(warning["code"] == code && warning["message"].as_str().unwrap().contains(message), "{warning}");
    };
    assert_eq!(warnings.len(), 2);
    told(0, "unread", "line 1 (2 rows): the column \"lable\" is not read; did you mean \"label\"?");
    told(1, "control-token", "line 2: \"<|im_start|>\" is no text to the model");
    let err = tunesmith(line, &[nano(), &data]).good().err;
    assert_eq!(err.matches("warning: ").count(), 2, "{err}");
}

#[test]
fn usage_is_told_with_code_2() {
    let usage = |line: &str, what: &str| {
        let run = tunesmith(line, &[]);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{line}");
        assert!(run.err.contains(what), "{line}: {}", run.err);
    };
    usage("", "Usage:");
    usage("trian", "'train'");
    usage("train --data d --out o --learning-rte 1", "'--learning-rate'");
    usage("train --data d --out o --learning-rate fast", "a number was expected");
    usage("train --data d --out o --lr-scheduler-type cosin", "constant, linear or cosine");
    usage("train --data d --out o --method lroa", "did you mean \"lora\"?");
    usage("train --data d", "--out");
    usage("generate --prompt a --top-p 2", "--top-p");
    usage("generate --prompt a --raw --system b", "--system");
    usage("generate --prompt a --data b", "--data");
    usage("generate", "--prompt");
    usage("generate --prompt a --repetition-penalty 0.5", "--repetition-penalty");
}

#[test]
fn prompts() {
    let folder = folder("bad-prompts");
    let data = |name: &str, rows: &str| file(&folder, name, rows);
    let long = format!("{{\"prompt\":\"{}\"}}", "a".repeat(5000));
    for (path, what, help) in [
        (
            data("none.jsonl", "{\"prompt\":\"a\"}\n{\"text\":\"b\"}\n"),
            "none.jsonl, line 2: there is no prompt",
            "give \"prompt\"",
        ),
        (data("empty.jsonl", ""), "there are no prompts", "at least one row"),
        (data("long.jsonl", &long), "prompt: it has", "shorter than the model's context"),
        (data("turn.jsonl", "{\"prompt\":[{\"role\":\"user\"}]}"), "turn.jsonl, line 1: prompt[0]", "give \"prompt\""),
    ] {
        fails("generate --model {} --data {}", &[nano(), &path], what, help);
    }
    let many = "generate --model {} --prompt a --num-return-sequences 2";
    fails(many, &[nano()], "at temperature 0 all 2 answers", "--temperature above 0");
}

#[test]
fn settings() {
    let folder = folder("bad-settings");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    for (name, content, what, help) in [
        ("key.json", "{\"learning_rte\": 1}", "unknown config key \"learning_rte\"", "did you mean \"learning_rate\"?"),
        ("value.json", "{\"r\": \"many\"}", "r: a whole number", "give a whole number"),
        ("broken.json", "{\"r\": ", "broken.json: this is not a JSON object", "object of fields"),
    ] {
        let config = file(&folder, name, content);
        fails(&format!("{TRAIN} --config {{}}"), &[nano(), &data, &out, &config], what, help);
    }
    fails(&format!("{TRAIN} --config {{}}"), &[nano(), &data, &out, &folder.join("none.json")], "none.json", "exists");
    fails(
        &format!("{TRAIN} --num-virtual-tokens 3"),
        &[nano(), &data, &out],
        "num_virtual_tokens: ",
        "method to prompt",
    );
    fails(&format!("{TRAIN} --max-steps 0"), &[nano(), &data, &out], "max_steps: ", "at least 1");
    fails(&format!("{TRAIN} --target-modules nothing"), &[nano(), &data, &out], "target_modules: ", "q_proj");
    assert!(!out.exists());

    // Flags win over the file.
    let config = file(&folder, "good.json", "{\"r\": 2, \"max_steps\": 3, \"seed\": null}");
    let line = format!("{TRAIN} --config {{}} --json --max-steps 1");
    let config = tunesmith(&line, &[nano(), &data, &out, &config]).good().event("start")["config"].clone();
    assert_eq!((&config["r"], &config["max_steps"], &config["seed"]), (&2.into(), &1.into(), &42.into()));
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = folder("bad-out");
    let data = file(&folder, "data.jsonl", EXAMPLES);
    let in_the_way = file(&folder, "file", "a file");
    for out in [in_the_way.clone(), in_the_way.join("out"), in_the_way.join("deep/out")] {
        fails(TRAIN, &[nano(), &data, &out], out.to_str().unwrap(), "you may read or write it");
    }
    let card = file(&folder, "README.md", "not ours");
    fails(TRAIN, &[nano(), &data, &folder], "there is a README.md in this folder already", "another --out");
    assert_eq!((read(card), read(in_the_way)), (b"not ours".to_vec(), b"a file".to_vec()));
    assert_eq!(names(&folder), ["README.md", "data.jsonl", "file"]);
}

#[test]
fn adapters() {
    let folder = folder("bad-adapters");
    let (data, good) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("good"));
    tunesmith(&format!("{TRAIN} --max-steps 1 --r 2"), &[nano(), &data, &good]).good();
    let config = String::from_utf8(read(good.join("adapter_config.json"))).unwrap();
    let tensors = read(good.join("adapter_model.safetensors"));
    let adapter = |name: &str, config: &str, tensors: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir(&path).unwrap();
        file(&path, "adapter_config.json", config);
        file(&path, "adapter_model.safetensors", tensors);
        path
    };
    let half = &tensors[..tensors.len() / 2];
    let shape = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has shape [2, 48], expected [3, 48]";
    let fits = "belongs to this model";
    for (path, what, help) in [
        (adapter("shape", &config.replace("\"r\": 2", "\"r\": 3"), &tensors), shape, fits),
        (adapter("fewer", &config.replace("\"v_proj\",", ""), &tensors), "v_proj", fits),
        (adapter("dora", &config.replace("\"use_dora\": false", "\"use_dora\": true"), &tensors), "magnitude", fits),
        (adapter("bias", &config.replace("\"none\"", "\"all\""), &tensors), "bias is \"all\"", "without it"),
        (adapter("type", &config.replace("LORA", "LOHA"), &tensors), "peft_type LOHA is not supported", "LORA"),
        (adapter("config", "{", &tensors), "not a JSON object", "save the adapter again"),
        (adapter("half", &config, half), "no whole safetensors file", "copy or save the file again"),
        (folder.join("none"), "adapter_config.json", "PEFT or Tunesmith saved"),
    ] {
        let out = folder.join("out");
        fails(&format!("{TRAIN} --init-adapter {{}}"), &[nano(), &data, &out, &path], what, help);
        fails("eval --model {} --adapter {} --data {}", &[nano(), &path, &data], what, help);
        fails("generate --model {} --adapter {} --prompt a", &[nano(), &path], what, help);
        assert!(!out.exists());
    }
}

#[test]
fn what_is_no_number_is_refused() {
    let folder = folder("bad-numbers");
    let (data, out) = (file(&folder, "data.jsonl", EXAMPLES), folder.join("out"));
    tunesmith("train --model {} --data {} --out {} --max-steps 1 --r 2", &[nano(), &data, &out]).good();
    // The last number of the last tensor.
    let nan = |bytes: &mut Vec<u8>| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    let tensors = out.join("adapter_model.safetensors");
    let mut bytes = read(&tensors);
    nan(&mut bytes);
    std::fs::write(&tensors, bytes).unwrap();
    let eval = "eval --model {} --adapter {} --data {}";
    fails(eval, &[nano(), &out, &data], "holds NaN in place", "check that the adapter belongs to this model");
    let mut bytes = read(nano());
    nan(&mut bytes);
    let model = file(&folder, "nan.gguf", bytes);
    let generate = "generate --model {} --prompt a";
    fails(generate, &[&model], "holds something that is no finite number, in place", "download it again");
}
