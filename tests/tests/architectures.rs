//! Every architecture against transformers and PEFT, on a small model of its own: logits, gradients, the first losses of a
//! run; and merged models.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::MemorySource;
use tunesmith::model::Model;
use tunesmith::peft::merge::{Merge, OutType};
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith_tests::golden::{LogitRows, Summary, architectures, hash, methods};
use tunesmith_tests::parity::{curve, gradients, inputs, logits, step};
use tunesmith_tests::{golden, models};

fn gguf(name: &str) -> Gguf {
    Gguf::open(Box::new(MemorySource::new(format!("{name}.gguf"), architectures::file(name).finish()))).unwrap()
}

fn load(gguf: &Gguf) -> Model {
    block_on(Model::load(&models::context(), gguf, |_, _| {})).unwrap_or_else(|error| panic!("{error}"))
}

/// LoRA as the fixtures have it.
fn lora(model: &Model, b: f32) -> (Rc<dyn Peft>, RunConfig) {
    let mut config = RunConfig::new(Method::Lora);
    (config.r, config.lora_alpha) = (4, 8.0);
    let adapter = block_on(peft::create(model, &config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        let shape = [tensor.shape[0], tensor.shape[1]];
        adapter.params().write(index, &hash::lora_init(&tensor.name, shape, b));
    }
    (adapter.into(), config)
}

/// Another method, with the fixtures' values.
fn tuned(model: &Model, fields: &[(&str, &str)]) -> Rc<dyn Peft> {
    let mut config = RunConfig::new(Method::Lora);
    fields.iter().for_each(|(field, value)| config.set(field, value).unwrap());
    let adapter = block_on(peft::create(model, &config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        adapter.params().write(index, &methods::hashed(&tensor.name, &tensor.shape));
    }
    adapter.into()
}

/// Logits, every gradient of LoRA, and five losses.
fn check(name: &str) {
    let model = Rc::new(load(&gguf(name)));
    let folder = format!("architectures/{name}");
    let inputs = inputs(&folder);
    let ids = &inputs.logits[0].input_ids;
    let distance = LogitRows::read(&folder, 0).rel_l2(&logits(&model, ids, 0));
    println!("{name} logits: rel-L2 {distance:.2e}");
    assert!(distance <= 1e-5, "{name} logits: rel-L2 {distance:.2e}");
    gradients(&model, lora(&model, hash::LORA_B).0.as_ref(), &inputs, &format!("{folder}/lora_gradients"));
    let (adapter, config) = lora(&model, 0.0);
    curve(&model, &adapter, &config, &inputs, &format!("{folder}/lora_curve"), 5, 1e-4);
}

const DORA: &[(&str, &str)] = &[("method", "dora"), ("r", "4"), ("lora_alpha", "8")];
const IA3: &[(&str, &str)] = &[("method", "ia3")];
const PREFIX: &[(&str, &str)] = &[("method", "p-tuning-v2"), ("num_virtual_tokens", "5")];
const LN_TUNING: &[(&str, &str)] = &[("method", "ln-tuning")];

/// Gradients of other methods, as PEFT has them.
fn check_methods(name: &str, methods: &[(&str, &[(&str, &str)])]) {
    let model = load(&gguf(name));
    let folder = format!("architectures/{name}");
    for (file, fields) in methods {
        let adapter = tuned(&model, fields);
        gradients(&model, adapter.as_ref(), &inputs(&folder), &format!("{folder}/{file}_gradients"));
    }
}

/// Of BitFit's biases, those that the model has start as the model's own.
fn check_biases(name: &str) {
    let model = load(&gguf(name));
    let folder = format!("architectures/{name}");
    let inputs = inputs(&folder);
    let stem = format!("{folder}/bitfit_gradients");
    let bitfit = block_on(peft::create(&model, &RunConfig::new(Method::BitFit))).unwrap();
    let (loss, found) = step(&model, bitfit.as_ref(), &inputs.step);
    let (want, summary): (golden::Gradients, _) = (golden::json(&format!("{stem}.json")), Summary::read(&stem));
    assert!((loss - want.loss).abs() <= 1e-5 * want.loss, "{stem}: loss {loss} for {}", want.loss);
    for name in summary.names() {
        let index = bitfit.params().tensors.iter().position(|tensor| tensor.name == *name).expect(name);
        let distance = summary.rel_l2(name, &found[index]);
        assert!(distance <= 1e-4, "{name}: rel-L2 {distance:.2e}");
    }
}

/// A merged model loses what base and adapter lose.
fn check_merged(name: &str) {
    let gguf = gguf(name);
    let model = load(&gguf);
    let example = &inputs(&format!("architectures/{name}")).step;
    let full = || {
        let adapter = block_on(peft::create(&model, &RunConfig::new(Method::Full))).unwrap();
        let mut values = block_on(adapter.params().read()).unwrap();
        for (index, (tensor, values)) in adapter.params().tensors.iter().zip(&mut values).enumerate() {
            let noise = hash::uniform(&tensor.name, values.len(), 0.05);
            values.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
            adapter.params().write(index, values);
        }
        Rc::from(adapter)
    };
    for (method, adapter) in
        [("lora", lora(&model, 0.1).0), ("dora", tuned(&model, DORA)), ("ia3", tuned(&model, IA3)), ("full", full())]
    {
        let (want, _) = step(&model, adapter.as_ref(), example);
        let merge = Merge::new(&model, &gguf, adapter.as_ref(), OutType::F32).unwrap();
        let mut bytes = Vec::new();
        block_on(merge.write(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        }))
        .unwrap();
        let merged = load(&Gguf::open(Box::new(MemorySource::new("merged.gguf", bytes))).unwrap());
        let (found, _) = step(&merged, lora(&merged, 0.0).0.as_ref(), example);
        println!("{name} {method}: loss {found}, {want} with the adapter beside");
        assert!((found - want).abs() <= 1e-5 * want, "{name} {method}: merged {found}, beside {want}");
        let (base, _) = step(&model, lora(&model, 0.0).0.as_ref(), example);
        assert!((base - want).abs() > 1e-3, "{name} {method}: the adapter changes something");
    }
}

#[test]
fn qwen2() {
    check("qwen2");
    check_methods("qwen2", &[("dora", DORA), ("ia3", IA3), ("prefix", PREFIX)]);
    check_biases("qwen2");
    check_merged("qwen2");
}

#[test]
fn qwen3() {
    check("qwen3");
    check_methods("qwen3", &[("ln_tuning", LN_TUNING), ("prefix", PREFIX)]);
    check_merged("qwen3");
}

#[test]
fn smollm3() {
    check("smollm3");
    check_merged("smollm3");
}

#[test]
fn phi3() {
    check("phi3");
    check_methods("phi3", &[("dora", DORA), ("ia3", IA3), ("prefix", PREFIX)]);
    check_merged("phi3");
}

#[test]
fn gemma() {
    check("gemma");
    check_methods("gemma", &[("ln_tuning", LN_TUNING)]);
    check_merged("gemma");
}

#[test]
fn gemma2() {
    check("gemma2");
    check_methods("gemma2", &[("ln_tuning", LN_TUNING)]);
    check_merged("gemma2");
}

#[test]
fn gemma3() {
    check("gemma3");
    check_methods("gemma3", &[("dora", DORA), ("ia3", IA3), ("ln_tuning", LN_TUNING), ("prefix", PREFIX)]);
    check_merged("gemma3");
}

#[test]
fn gpt2() {
    check("gpt2");
    let methods = [("dora", DORA), ("ia3", IA3), ("ln_tuning", LN_TUNING), ("prefix", PREFIX)];
    check_methods("gpt2", &methods);
    check_biases("gpt2");
    check_merged("gpt2");
}

#[test]
fn stretched_contexts() {
    for name in ["llama3", "llama_linear", "llama_yarn"] {
        check(name);
    }
    check_merged("llama3");
}
