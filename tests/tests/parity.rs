//! The whole path against PyTorch and PEFT: logits, every gradient of a step, loss curves, greedy generation.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::generate::{Generator, Sampling, Stop};
use tunesmith::gpu::Context;
use tunesmith::model::{Decoder, Inputs, Model};
use tunesmith::peft::{self, Peft};
use tunesmith::tape::Tape;
use tunesmith::train::config::{Method, PromptTuningInit, Recompute, RunConfig};
use tunesmith_tests::golden::{self, Answer, LogitRows, hash, nano};
use tunesmith_tests::models;
use tunesmith_tests::parity::{curve, gradients, inputs};

/// The fixture's adapter: hashed A, and hashed or zero B; or the hashed prompt.
fn adapter(model: &Model, name: &str, method: Method, b: f32) -> (Rc<dyn Peft>, RunConfig) {
    let mut config = RunConfig::new(method);
    if name == "nano" {
        config.r = nano::LORA_R as u32;
        config.lora_alpha = 2.0 * nano::LORA_R as f64;
    }
    config.num_virtual_tokens = 20;
    config.prompt_tuning_init = PromptTuningInit::Random;
    let adapter = block_on(peft::create(model, &config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        let cols = tensor.weight.cols;
        let amplitude = if tensor.name.contains("lora_A") {
            1.0 / (cols as f64).sqrt()
        } else if tensor.name.contains("lora_B") {
            f64::from(b)
        } else {
            0.235
        };
        adapter.params().write(index, &hash::uniform(&tensor.name, tensor.count(), amplitude as f32));
    }
    (adapter.into(), config)
}

fn check_logits(name: &str) {
    let context = models::context();
    let model = models::load(&context, name);
    for (s, sequence) in inputs(name).logits.iter().enumerate() {
        let ids = &sequence.input_ids;
        let rows = ids.len();
        let vocab = model.config.vocab;
        let device = Inputs::new(&context, rows).unwrap();
        let row = context.buffer("row", 4).unwrap();
        let logits = context.buffer("logits", vocab as u64 * 4).unwrap();
        let mut t = Tape::new(&model.context);
        let h = Decoder { model: &model, peft: None, training: false, recompute: Recompute::None }
            .forward(&mut t, &device, None);
        // The last row's logits come from the plan; the other rows' from the same hidden states, row by row.
        let hidden = context.buffer("hidden", (rows * model.config.hidden * 4) as u64).unwrap();
        let copy = t.leaf(rows, model.config.hidden, &hidden, None);
        t.copy(h, copy);
        let forward = t.finish(&context).unwrap();
        let positions: Vec<u32> = (0..rows as u32).collect();
        let keys: Vec<[u32; 2]> = positions.iter().map(|&position| [0, position + 1]).collect();
        context.write(&device.ids, 0, ids);
        context.write(&device.positions, 0, &positions);
        context.write(&device.masks.keys_of_row, 0, &keys);
        forward.run(0);
        let mut t = Tape::new(&model.context);
        let h = t.leaf(rows, model.config.hidden, &hidden, None);
        t.row_logits(h, model.head(), &row, &logits);
        let head = t.finish(&context).unwrap();
        let mut all = Vec::with_capacity(rows * vocab);
        for index in 0..rows as u32 {
            context.write(&row, 0, &[index]);
            head.run(0);
            all.extend(block_on(context.read::<f32>(&logits, 0, vocab)).unwrap());
        }
        context.check().unwrap();
        let distance = LogitRows::read(name, s).rel_l2(&all);
        println!("{name} logits {s}: {rows} rows, rel-L2 {distance:.2e}");
        assert!(distance <= 1e-5, "{name} logits {s}: rel-L2 {distance:.2e}");
    }
}

fn check_gradients(name: &str, method: Method) {
    let model = models::load(&models::context(), name);
    let (adapter, _) = adapter(&model, name, method, 0.01);
    gradients(&model, adapter.as_ref(), &inputs(name), &format!("{name}/{}_gradients", method.name()));
}

fn check_curve(name: &str, method: Method, file: &str, steps: usize, tolerance: f64) {
    let model = Rc::new(models::load(&models::context(), name));
    let (adapter, config) = adapter(&model, name, method, 0.0);
    curve(&model, &adapter, &config, &inputs(name), &format!("{name}/{file}"), steps, tolerance);
}

#[test]
fn nano_logits() {
    check_logits("nano");
}

#[test]
fn cut_logits() {
    check_logits("cut");
}

#[test]
fn full_logits() {
    check_logits("full");
}

#[test]
fn nano_gradients() {
    check_gradients("nano", Method::Lora);
    check_gradients("nano", Method::Prompt);
}

#[test]
fn cut_gradients() {
    check_gradients("cut", Method::Lora);
    check_gradients("cut", Method::Prompt);
}

#[test]
fn full_lora_gradients() {
    check_gradients("full", Method::Lora);
}

#[test]
fn full_prompt_gradients() {
    check_gradients("full", Method::Prompt);
}

#[test]
fn nano_curves() {
    check_curve("nano", Method::Lora, "lora_curve", 20, 1e-4);
    check_curve("nano", Method::Lora, "lora_decay_curve", 20, 1e-4);
    check_curve("nano", Method::Prompt, "prompt_curve", 20, 1e-4);
    check_curve("nano", Method::Lora, "lora_cosine_curve", 100, 1e-4);
}

#[test]
fn cut_curves() {
    check_curve("cut", Method::Lora, "lora_curve", 20, 1e-4);
    check_curve("cut", Method::Prompt, "prompt_curve", 20, 1e-4);
}

#[test]
fn full_lora_curve() {
    check_curve("full", Method::Lora, "lora_curve", 20, 1e-4);
}

#[test]
fn full_prompt_curve() {
    check_curve("full", Method::Prompt, "prompt_curve", 20, 1e-4);
}

#[test]
fn greedy_generation() {
    let context: Context = models::context();
    let model = models::load(&context, "full");
    let answers: Vec<Answer> = golden::json("full/generation.json");
    let generator = Generator::new(&model, None, 512).unwrap();
    let sampling = Sampling { max_new_tokens: 64, ..Default::default() };
    for answer in &answers {
        let got = block_on(generator.generate(&answer.prompt_ids, sampling, |_| true)).unwrap();
        let mut want = answer.generated_ids.clone();
        let ended = want.last().is_some_and(|id| model.tokenizer.end_ids().contains(id));
        if ended {
            want.pop();
        }
        let narrowest = answer.margins.iter().copied().fold(f32::INFINITY, f32::min);
        println!("{:?}: {} tokens, narrowest margin {narrowest}", answer.prompt, got.ids.len());
        assert_eq!(got.ids, want, "{:?}: {:?} for {:?}", answer.prompt, got.text, answer.text);
        assert_eq!(got.stop, if ended { Stop::End } else { Stop::Length });
    }
}
