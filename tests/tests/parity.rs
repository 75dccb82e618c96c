//! The whole path against PyTorch and PEFT: logits, every gradient of a step, loss curves, greedy generation.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::batch::{Batch, Dataset, Layout};
use tunesmith::data::render::Rendered;
use tunesmith::generate::{Generator, Sampling, Stop};
use tunesmith::gpu::Context;
use tunesmith::model::{Decoder, Inputs, Model};
use tunesmith::objective::sft;
use tunesmith::peft::{self, Peft};
use tunesmith::tape::Tape;
use tunesmith::train::config::{LrScheduler, Method, PromptTuningInit, Recompute, RunConfig};
use tunesmith::train::{Event, Pass, Trainer};
use tunesmith_tests::golden::{self, Answer, Curve, Example, Gradients, LogitRows, Summary, hash, nano};
use tunesmith_tests::models;

fn inputs(model: &str) -> golden::Inputs {
    golden::json(if model == "nano" { "nano/inputs.json" } else { "inputs.json" })
}

fn rendered(example: &Example) -> Rendered {
    let targets = example.labels.iter().map(|&label| label >= 0).collect();
    Rendered { ids: example.input_ids.clone(), targets, truncated: false }
}

fn batch(model: &Model, examples: &[Rendered], virtual_tokens: usize) -> Batch {
    let longest = examples.iter().map(|example| example.ids.len()).max().unwrap();
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: examples.len(),
        max_length: longest,
        virtual_tokens,
        vocab_size: model.config.vocab,
    };
    Dataset::new(examples.to_vec(), layout).batch(&(0..examples.len()).collect::<Vec<_>>())
}

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
    let context = models::context();
    let model = models::load(&context, name);
    let (adapter, _) = adapter(&model, name, method, 0.01);
    let stem = format!("{name}/{}_gradients", method.name());
    let (want, summary): (Gradients, _) = (golden::json(&format!("{stem}.json")), Summary::read(&stem));
    let virtual_tokens = adapter.virtual_tokens();
    let batch = batch(&model, &[rendered(&inputs(name).step)], virtual_tokens);
    assert_eq!(batch.target_tokens, want.target_tokens);
    let pass = Pass::new(&model, Some(adapter.as_ref()), batch.t, Some(Recompute::None)).unwrap();
    pass.run(&batch, &sft::targets(&batch, batch.target_tokens), [0, 0]);
    let loss = f64::from(block_on(context.read::<f32>(&pass.targets.total, 0, 1)).unwrap()[0]);
    let off = (loss - want.loss).abs() / want.loss;
    println!("{stem}: loss {loss} for {}, off {off:.1e}", want.loss);
    assert!(off <= 1e-5, "{stem}: loss {loss} for {}", want.loss);
    let grads = block_on(adapter.params().read_grads()).unwrap();
    assert_eq!(grads.len(), summary.names().len());
    let tensors = adapter.params().tensors.iter().map(|tensor| tensor.name.as_str());
    let mut distances: Vec<(f64, &str)> =
        tensors.zip(&grads).map(|(name, grad)| (summary.rel_l2(name, grad), name)).collect();
    distances.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (median, worst) = (distances[distances.len() / 2].0, distances[0]);
    println!("{stem}: {} tensors, rel-L2 median {median:.2e}, worst {:.2e} at {}", grads.len(), worst.0, worst.1);
    assert!(worst.0 <= 1e-4, "{stem}: rel-L2 {:.2e} at {}", worst.0, worst.1);
}

fn check_curve(name: &str, method: Method, file: &str, steps: usize, tolerance: f64) {
    let context = models::context();
    let model = Rc::new(models::load(&context, name));
    let stem = format!("{name}/{file}");
    let want: Curve = golden::json(&format!("{stem}.json"));
    let (adapter, mut config) = adapter(&model, name, method, 0.0);
    // The order of the fixture is laid out as the data set, so that no shuffle and no epoch is needed.
    let curve = inputs(name).curve;
    let examples: Vec<Rendered> = want.order.iter().flatten().map(|&index| rendered(&curve[index])).collect();
    config.learning_rate = want.learning_rate;
    config.weight_decay = want.weight_decay;
    config.max_grad_norm = want.max_grad_norm;
    config.gradient_accumulation_steps = want.gradient_accumulation_steps as u32;
    config.warmup_steps = want.warmup_steps as f64;
    config.max_steps = want.steps as i32;
    config.lr_scheduler_type = match want.lr_scheduler_type.as_str() {
        "constant" => LrScheduler::Constant,
        "cosine" => LrScheduler::Cosine,
        other => panic!("{stem}: {other}"),
    };
    config.shuffle = false;
    let mut trainer = Trainer::new(model, adapter.clone(), &config, examples, Vec::new()).unwrap();
    let mut events = Vec::new();
    while trainer.steps_done() < steps {
        events.extend(block_on(trainer.step()).unwrap());
    }
    events.extend(block_on(trainer.flush()).unwrap());
    let mut worst = (0.0_f64, 0.0_f64);
    let (mut seen, mut first) = (0, f64::INFINITY);
    for event in events {
        let Event::Step { step, loss, learning_rate, grad_norm, .. } = event else { panic!("{event:?}") };
        let relative = |got: f64, want: f64| (got - want).abs() / want.abs().max(1e-12);
        worst.0 = worst.0.max(relative(loss, want.losses[step - 1]));
        let norm_off = relative(grad_norm.unwrap(), want.grad_norms[step - 1]);
        worst.1 = worst.1.max(norm_off);
        if step == 1 {
            first = norm_off;
        }
        assert!((learning_rate - want.learning_rates[step - 1]).abs() <= 1e-12, "{stem}: rate of step {step}");
        seen += 1;
    }
    assert_eq!(seen, steps);
    println!(
        "{stem}: {steps} steps, worst loss off {:.1e}, gradient norm off {:.1e} (first step {first:.1e})",
        worst.0, worst.1
    );
    assert!(worst.0 <= tolerance, "{stem}: loss off {:.2e}", worst.0);
    // Only at the first step are the parameters the same to the bit; from then on Adam magnifies what rounding does to
    // the smallest gradients, and two correct runs part in their norms before they part in their losses.
    assert!(first <= 1e-4, "{stem}: gradient norm of the first step off {first:.2e}");
    if steps == want.steps {
        let summary = Summary::read(&stem);
        let values = block_on(adapter.params().read()).unwrap();
        for (tensor, values) in adapter.params().tensors.iter().zip(&values) {
            let distance = summary.rel_l2(&tensor.name, values);
            assert!(distance <= 1e-2, "{stem}: {} ended {distance:.2e} away", tensor.name);
        }
    }
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
