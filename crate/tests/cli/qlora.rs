//! `load_in_4bit` on every command that loads a model.

use std::path::PathBuf;

use serde_json::{Value, json};
use tunesmith::bench::{Shape, synthetic};
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf_write::GgufWriter;

use crate::support::*;

const DATA: &str = r#"{"prompt":"one ","completion":"two"}
{"text":"three and four"}
{"prompt":"five ","completion":"six"}
{"text":"seven and eight"}
{"prompt":"nine ","completion":"ten"}
"#;

/// A small model whose linear layers are of this type.
fn model(ty: GgmlType) -> Vec<u8> {
    let made_up = synthetic::gguf(&Shape::named("nano").unwrap(), ty).unwrap();
    let mut file = GgufWriter::new("llama");
    for (key, value) in made_up.metadata() {
        file.set(key, value.clone());
    }
    for tensor in made_up.tensors() {
        let mut data = Vec::new();
        let take = |_: u64, bytes: &[u8]| {
            data.extend_from_slice(bytes);
            Ok(())
        };
        made_up.read_tensor_chunks(tensor, 8 << 20, take).unwrap();
        file.tensor(&tensor.name, &tensor.dims, tensor.ty, data);
    }
    file.finish()
}

fn files(name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let folder = folder(name);
    (file(&folder, "half.gguf", model(GgmlType::F16)), file(&folder, "data.jsonl", DATA), folder)
}

#[test]
fn a_run_is_repeated_and_resumed_as_its_settings_say() {
    let (model, data, folder) = files("qlora");
    let out = folder.join("out");
    let line = "train --model {} --data {} --eval-data {} --out {} --json --method qlora --r 4 --max-steps 4 --save-steps 2 \
                --learning-rate 1e-2";
    let run = tunesmith(line, &[&model, &data, &data, &out]).good();
    let config: Value = serde_json::from_slice(&read(out.join("run.json"))).unwrap();
    assert_eq!((&config["method"], &config["load_in_4bit"]), (&json!("lora"), &json!(true)));
    let card = String::from_utf8(read(out.join("README.md"))).unwrap();
    for words in ["(F16, its linear layers quantized to NF4)", "bnb_4bit_use_double_quant=True))", "--load-in-4bit\n"] {
        assert!(card.contains(words), "{words} is not in {card}");
    }
    let evals = |run: &Outcome| -> Vec<Value> {
        run.events().iter().filter(|event| event["event"] == "eval").map(|event| event["loss"].clone()).collect()
    };
    let losses = evals(&run);
    assert!(losses.last().unwrap().as_f64() < losses[0].as_f64(), "{losses:?}");

    // As its file has it, the model is another one.
    let eval = |flags: &str| {
        let line = format!("eval --model {{}} --adapter {{}} --data {{}} --json {flags}");
        tunesmith(&line, &[&model, &out, &data]).good().event("eval")["loss"].clone()
    };
    assert_eq!(eval("--load-in-4bit"), *losses.last().unwrap());
    assert_ne!(eval(""), *losses.last().unwrap());

    let again = folder.join("again");
    let line = "train --model {} --data {} --eval-data {} --config {} --out {} --json";
    let repeated = tunesmith(line, &[&model, &data, &data, &out.join("run.json"), &again]).good();
    assert_eq!(evals(&repeated), losses);
    std::fs::remove_dir_all(again.join("checkpoint-4")).unwrap();
    let line = "train --model {} --data {} --eval-data {} --out {} --json --resume";
    let resumed = tunesmith(line, &[&model, &data, &data, &again]).good();
    assert_eq!(evals(&resumed).last(), losses.last());
    assert!(read(again.join("adapter_model.safetensors")) == read(out.join("adapter_model.safetensors")));

    let ids = |flags: &str| {
        let line = format!("generate --model {{}} --raw --prompt ab --max-new-tokens 4 --json {flags}");
        tunesmith(&line, &[&model]).good().event("generated")["ids"].as_array().unwrap().len()
    };
    assert_eq!((ids("--load-in-4bit"), ids("")), (4, 4));
}

#[test]
fn less_memory_is_estimated_and_shown() {
    let (model, data, _) = files("qlora-memory");
    let estimated = |flags: &str| {
        let line = format!("estimate --model {{}} --data {{}} --json {flags}");
        let run = tunesmith(&line, &[&model, &data]).good();
        run.events()[0]["model"].as_u64().unwrap()
    };
    assert!(estimated("--load-in-4bit") < estimated(""));
    let types = |flags: &str| {
        tunesmith(&format!("inspect {{}} --json {flags}"), &[&model]).good().event("model")["types"].clone()
    };
    let (half, four) = (types(""), types("--load-in-4bit"));
    assert_eq!((&half["F16"]["tensors"], &four["NF4"]["tensors"]), (&json!(14), &json!(14)));
    assert!(four["NF4"]["bytes"].as_u64() < half["F16"]["bytes"].as_u64());
    assert_eq!((&four["F16"], &four["Q8_0"]), (&Value::Null, &half["Q8_0"]));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (half, data, folder) = files("qlora-refused");
    let quantized = file(&folder, "quantized.gguf", model(GgmlType::Q8_0));
    let fails = |line: &str, paths: &[&std::path::Path], what: &str| {
        let run = tunesmith(line, paths);
        assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{line}: {}", run.err);
        assert!(run.err.contains(what) && run.err.contains("help: "), "{line}: {}", run.err);
    };
    let out = folder.join("out");
    let already = "load_in_4bit: blk.0.attn_q.weight is Q8_0 in the file, so the model is quantized already";
    fails("train --model {} --data {} --out {} --method qlora", &[&quantized, &data, &out], already);
    fails("estimate --model {} --data {} --load-in-4bit", &[&quantized, &data], already);
    fails("eval --model {} --data {} --load-in-4bit", &[&quantized, &data], already);
    fails("generate --model {} --prompt a --load-in-4bit", &[&quantized], already);
    fails("inspect {} --load-in-4bit", &[&quantized], already);
    let full = "train --model {} --data {} --out {} --method full --load-in-4bit";
    fails(full, &[&half, &data, &out], "load_in_4bit: full fine-tuning");
    fails("lab --model {} --data {} --methods lora,qlora", &[&half, &data], "methods: qlora wants the model in 4 bits");
    assert!(!out.exists());
}
