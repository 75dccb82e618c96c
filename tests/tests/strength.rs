//! Adapters at less than their full strength.

use pollster::block_on;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft, io, strength};
use tunesmith::settings::config::RunConfig;
use tunesmith::train::{ExampleLoss, evaluate};
use tunesmith_tests::golden::hash;
use tunesmith_tests::{models, parity};

/// Settings of every method that has strengths.
const SCALED: &[&[(&str, &str)]] = &[
    &[("method", "lora"), ("r", "4"), ("modules_to_save", "norm,lm_head")],
    &[("method", "dora"), ("r", "4"), ("rank_pattern", "q_proj=2")],
    &[("method", "adalora")],
    &[("method", "ia3")],
    &[("method", "bitfit")],
    &[("method", "ln-tuning")],
    &[("method", "houlsby"), ("bottleneck_size", "8")],
    &[("method", "full")],
];

/// The folder of an adapter whose every parameter was moved a little.
fn saved(model: &Model, fields: &[(&str, &str)]) -> Vec<io::File> {
    let mut config = RunConfig::from_json("{}").unwrap();
    fields.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    let adapter = block_on(peft::create(model, &config)).unwrap();
    let start = block_on(adapter.params().read()).unwrap();
    for (index, (tensor, start)) in adapter.params().tensors.iter().zip(start).enumerate() {
        let moved = hash::uniform(&tensor.name, tensor.count(), 0.05);
        adapter.params().write(index, &start.iter().zip(moved).map(|(x, by)| x + by).collect::<Vec<f32>>());
    }
    block_on(io::save(adapter.as_ref(), model, None)).unwrap()
}

fn load(model: &Model, files: &[io::File], strength: f32) -> tunesmith::Result<Box<dyn Peft>> {
    block_on(strength::load(model, "folder", &files[0].bytes, &files[1].bytes, strength))
}

fn losses(model: &Model, adapter: Option<&dyn Peft>) -> Vec<ExampleLoss> {
    let rows: Vec<_> = parity::inputs("nano").curve.iter().map(parity::rendered).collect();
    block_on(evaluate(model, adapter, &rows)).unwrap()
}

#[test]
fn none_is_the_base_and_all_is_the_adapter_to_the_bit() {
    // The weights of cut are quantized, so that what full fine-tuning starts from is not what the base computes with.
    for name in ["nano", "cut"] {
        let model = models::load(&models::context(), name);
        let base = losses(&model, None);
        for fields in SCALED {
            let files = saved(&model, fields);
            let full = block_on(io::load(&model, "folder", &files[0].bytes, &files[1].bytes)).unwrap();
            let full = losses(&model, Some(full.as_ref()));
            let at = |strength| losses(&model, Some(load(&model, &files, strength).unwrap().as_ref()));
            let half = at(0.5);
            assert!(at(0.0) == base, "{name}, {fields:?}: none of it");
            assert!(at(1.0) == full, "{name}, {fields:?}: all of it");
            for ((half, base), full) in half.iter().zip(&base).zip(&full) {
                assert!(half.loss != base.loss && half.loss != full.loss, "{name}, {fields:?}: half of it");
            }
        }
    }
}

#[test]
fn half_of_a_lora_is_one_of_half_the_alpha() {
    let model = models::load(&models::context(), "nano");
    let files = saved(&model, &[("method", "lora"), ("r", "4"), ("lora_alpha", "8")]);
    let config = String::from_utf8(files[0].bytes.clone()).unwrap();
    let halved = config.replace("\"lora_alpha\": 8", "\"lora_alpha\": 4");
    assert_ne!(config, halved);
    let want = block_on(io::load(&model, "folder", halved.as_bytes(), &files[1].bytes)).unwrap();
    let half = load(&model, &files, 0.5).unwrap();
    // A power of two moves through every sum.
    assert_eq!(losses(&model, Some(half.as_ref())), losses(&model, Some(want.as_ref())));
}

#[test]
fn what_has_no_strength_says_why() {
    let model = models::load(&models::context(), "nano");
    for (method, why) in [
        ("prompt", "virtual tokens"),
        ("p-tuning", "virtual tokens"),
        ("prefix", "virtual tokens"),
        ("p-tuning-v2", "virtual tokens"),
        ("unipelt", "gates"),
    ] {
        let files = saved(&model, &[("method", method)]);
        let error = load(&model, &files, 0.5).err().expect(method);
        assert!(error.code() == "adapter" && error.to_string().contains(why), "{method}: {error}");
        load(&model, &files, 1.0).unwrap();
    }
    let files = saved(&model, SCALED[0]);
    for strength in [-0.5, 1.5, f32::NAN] {
        assert_eq!(load(&model, &files, strength).err().expect("no strength").code(), "config");
    }
}
