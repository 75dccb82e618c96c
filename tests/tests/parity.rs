//! The whole path against PyTorch and PEFT: logits, every gradient of a step, loss curves, greedy generation.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::generate::{Generator, Sampling, Stop};
use tunesmith::gpu::Context;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{Method, PromptTuningInit, RunConfig};
use tunesmith_tests::golden::{self, Answer, LogitRows, hash, nano};
use tunesmith_tests::models;
use tunesmith_tests::parity::{curve, gradients, inputs, logits};

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
    let model = models::load(&models::context(), name);
    for (s, sequence) in inputs(name).logits.iter().enumerate() {
        let rows = sequence.input_ids.len();
        let distance = LogitRows::read(name, s).rel_l2(&logits(&model, &sequence.input_ids, 0));
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
fn pretraining_curve() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let mut config = RunConfig::new(Method::Full);
    config.adam_beta2 = 0.95;
    let adapter: Rc<dyn Peft> = block_on(peft::create(&model, &config)).unwrap().into();
    curve(&model, &adapter, &config, &inputs("pretraining"), "nano/pretraining/curve", 20, 1e-4);
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

/// Prompts of other lengths in other slots, some of them twice, and more of them than slots: the same answers, and log-probabilities of a pass
/// over prompt and answer together.
#[test]
fn generation_side_by_side() {
    let context: Context = models::context();
    for (name, rows, most) in [("nano", 32, 24), ("cut", 9, 6)] {
        let model = models::load(&context, name);
        let vocab = model.config.vocab;
        let prompts: Vec<Vec<u32>> = (0..rows)
            .map(|row: usize| {
                // Every third is the one before it once more: such are read together.
                let row = row - usize::from(row % 3 == 2);
                (0..1 + row * 7 % 90).map(|at| ((row * 131 + at * 17 + 5) % (vocab - 8)) as u32).collect()
            })
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let run = |slots, sampling| {
            let generator = Generator::new(&model, None, 128, slots).unwrap();
            block_on(generator.generate_all(&prompts, sampling, |_, _| true)).unwrap()
        };
        let greedy = Sampling { max_new_tokens: most, ..Default::default() };
        let sampled = Sampling { temperature: 0.8, top_k: 50, seed: 3, ..greedy };
        for sampling in [greedy, sampled] {
            let alone = run(1, sampling);
            for slots in [3, 8] {
                for (row, (one, other)) in alone.iter().zip(run(slots, sampling)).enumerate() {
                    assert_eq!(
                        (&one.ids, one.stop, &one.text),
                        (&other.ids, other.stop, &other.text),
                        "{name} {slots} {row}"
                    );
                }
            }
            let temperature = if sampling.temperature > 0.0 { f64::from(sampling.temperature) } else { 1.0 };
            for (row, generated) in run(8, sampling).iter().enumerate().step_by(5) {
                let ids = [prompts[row], &generated.ids].concat();
                let logits = logits(&model, &ids, prompts[row].len() - 1);
                for (at, (id, logp)) in generated.ids.iter().zip(&generated.logps).enumerate() {
                    let row_logits = &logits[at * vocab..][..vocab];
                    let top = row_logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let scaled = |logit: f32| f64::from(logit - top) / temperature;
                    let sum: f64 = row_logits.iter().map(|&logit| scaled(logit).exp()).sum();
                    let want = scaled(row_logits[*id as usize]) - sum.ln();
                    assert!((f64::from(*logp) - want).abs() <= 1e-5, "{name} {row} {at}: {logp}, {want}");
                }
            }
        }
        assert_ne!(run(8, sampled)[3].ids, run(8, Sampling { seed: 4, ..sampled })[3].ids);
    }
}

#[test]
fn greedy_generation() {
    let context: Context = models::context();
    let model = models::load(&context, "full");
    let answers: Vec<Answer> = golden::json("full/generation.json");
    let generator = Generator::new(&model, None, 512, 1).unwrap();
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
