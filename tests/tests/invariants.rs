//! What must hold for every method, on the nano model: nothing moves that should not, and the same run gives the
//! same bits.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::batch::{Dataset, Layout};
use tunesmith::data::render::Rendered;
use tunesmith::model::Model;
use tunesmith::objective::sft;
use tunesmith::peft::{self, Peft, io};
use tunesmith::settings::config::{LrScheduler, Method, Recompute, RunConfig};
use tunesmith::train::{Event, ExampleLoss, Pass, Trainer, evaluate};
use tunesmith_tests::golden::hash;
use tunesmith_tests::models;

fn examples() -> Vec<Rendered> {
    let lengths = [9, 17, 5, 12, 21, 7];
    let example = |(index, &length): (usize, &usize)| Rendered {
        ids: hash::hashed_ids(&format!("invariants.{index}"), length, 259),
        targets: (0..length).map(|token| token >= length / 3).collect(),
        ..Rendered::default()
    };
    lengths.iter().enumerate().map(example).collect()
}

fn config(method: Method) -> RunConfig {
    let mut config = RunConfig::new(method);
    config.r = 3;
    config.num_virtual_tokens = 5;
    config.max_steps = 6;
    config.learning_rate = 1e-2;
    config.lr_scheduler_type = LrScheduler::Cosine;
    config.gradient_accumulation_steps = 2;
    config
}

/// Every method, and LoRA with each of its switches, by name.
fn every() -> impl Iterator<Item = (&'static str, RunConfig)> {
    let methods = Method::ALL.iter().map(|&method| (method.name(), config(method)));
    let switched = |name, field| {
        let mut config = config(Method::Lora);
        config.set(field, "true").unwrap();
        (name, config)
    };
    methods.chain([switched("rslora", "use_rslora"), switched("dora", "use_dora")])
}

fn create(model: &Model, config: &RunConfig) -> Rc<dyn Peft> {
    block_on(peft::create(model, config)).unwrap().into()
}

fn losses(model: &Model, adapter: Option<&dyn Peft>) -> Vec<ExampleLoss> {
    block_on(evaluate(model, adapter, &examples())).unwrap()
}

/// Trains; returns the losses and gradient norms, and the adapter.
fn train(model: &Rc<Model>, config: &RunConfig) -> (Vec<(f64, f64)>, Rc<dyn Peft>) {
    let adapter = create(model, config);
    let mut trainer = Trainer::new(model.clone(), adapter.clone(), config, examples(), Vec::new()).unwrap();
    let mut events = Vec::new();
    while !trainer.is_done() {
        events.extend(block_on(trainer.step()).unwrap());
    }
    let steps = events.into_iter().map(|event| match event {
        Event::Step { loss, grad_norm, .. } => (loss, grad_norm.unwrap()),
        other => panic!("{other:?}"),
    });
    (steps.collect(), adapter)
}

#[test]
fn a_fresh_adapter_changes_nothing_to_the_bit() {
    let model = models::load(&models::context(), "nano");
    for (name, config) in every() {
        let adapter = create(&model, &config);
        // Virtual tokens change something from the first.
        if adapter.virtual_tokens() > 0 {
            continue;
        }
        assert_eq!(losses(&model, Some(adapter.as_ref())), losses(&model, None), "{name}");
    }
}

#[test]
fn the_base_is_untouched_by_training() {
    for (name, config) in every() {
        let model = Rc::new(models::load(&models::context(), "nano"));
        let before = losses(&model, None);
        let (_, adapter) = train(&model, &config);
        assert_eq!(losses(&model, None), before, "{name}");
        assert_ne!(losses(&model, Some(adapter.as_ref())), before, "{name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    for (name, mut config) in every() {
        config.lora_dropout = if name == "lora" { 0.2 } else { 0.0 };
        config.prompt_tuning_init = tunesmith::settings::config::PromptTuningInit::Random;
        let run = |config: &RunConfig| {
            let model = Rc::new(models::load(&models::context(), "nano"));
            let (losses, adapter) = train(&model, config);
            (losses, block_on(io::save(adapter.as_ref(), &model, None)).unwrap().swap_remove(1).bytes)
        };
        let (first, second) = (run(&config), run(&config));
        assert!(first == second, "{name}: two runs differ");
        config.seed += 1;
        assert!(run(&config).0 != first.0, "{name}: the seed does nothing");
    }
}

#[test]
fn an_adapter_is_saved_and_loaded_to_the_bit() {
    for (name, config) in every() {
        let model = Rc::new(models::load(&models::context(), "nano"));
        let (_, adapter) = train(&model, &config);
        let files = block_on(io::save(adapter.as_ref(), &model, None)).unwrap();
        assert_eq!(files.iter().map(|file| file.name).collect::<Vec<_>>(), [io::CONFIG, io::TENSORS, io::CARD]);
        let again = block_on(io::load(&model, "folder", &files[0].bytes, &files[1].bytes)).unwrap();
        let want = losses(&model, Some(adapter.as_ref()));
        assert_eq!(losses(&model, Some(again.as_ref())), want, "{name}");
        let resaved = block_on(io::save(again.as_ref(), &model, None)).unwrap();
        assert_eq!(resaved[1].bytes, files[1].bytes, "{name}");
    }
}

#[test]
fn prompts_start_as_tokens_of_the_vocabulary() {
    let model = models::load(&models::context(), "nano");
    let mut config = config(Method::Prompt);
    config.set("prompt_tuning_init", "SAMPLE_VOCAB").unwrap();
    let all: Vec<u32> = (0..model.config.vocab as u32).collect();
    let table = block_on(model.embeddings(&all)).unwrap();
    let start = |config: &RunConfig| block_on(create(&model, config).params().read()).unwrap().concat();
    let (one, again) = (start(&config), start(&config));
    assert_eq!(one, again);
    for row in one.chunks(model.config.hidden) {
        assert!(table.chunks(model.config.hidden).any(|token| token == row), "a row that is no token's");
    }
    config.seed += 1;
    assert_ne!(start(&config), one);
}

#[test]
fn switching_between_adapters_and_back_changes_no_bit() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let base = losses(&model, None);
    let adapters: Vec<_> = every().map(|(name, config)| (name, train(&model, &config).1)).collect();
    let of = |(_, adapter): &(&str, Rc<dyn Peft>)| losses(&model, Some(adapter.as_ref()));
    // All of them stay where they are, and each is asked after every other.
    let first: Vec<_> = adapters.iter().map(of).collect();
    let mut again: Vec<_> = adapters.iter().rev().map(of).collect();
    again.reverse();
    for ((name, _), (first, again)) in adapters.iter().zip(first.iter().zip(&again)) {
        assert_eq!(first, again, "{name}");
        assert_ne!(*first, base, "{name}");
    }
    assert_eq!(losses(&model, None), base);
}

#[test]
fn some_layers_alone_are_saved_and_loaded() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let mut config = config(Method::Lora);
    config.set("target_modules", r"model\.layers\.1\.(self_attn\.q_proj|mlp\.down_proj)").unwrap();
    let (_, adapter) = train(&model, &config);
    assert_eq!(adapter.params().tensors.len(), 4);
    let files = block_on(io::save(adapter.as_ref(), &model, None)).unwrap();
    let again = block_on(io::load(&model, "folder", &files[0].bytes, &files[1].bytes)).unwrap();
    assert_eq!(losses(&model, Some(again.as_ref())), losses(&model, Some(adapter.as_ref())));
}

/// Gradients of all the examples, laid out in the given batches.
fn gradients(model: &Model, adapter: &dyn Peft, packing: bool, batches: &[&[usize]]) -> (f64, Vec<f32>) {
    let layout = Layout {
        packing,
        per_device_train_batch_size: if packing { 4 } else { 6 },
        max_length: 32,
        virtual_tokens: adapter.virtual_tokens(),
        vocab_size: model.config.vocab,
    };
    let dataset = Dataset::new(examples(), layout);
    let batches: Vec<_> = batches.iter().map(|members| dataset.batch(members)).collect();
    let total = batches.iter().map(|batch| batch.target_tokens).sum();
    let context = &model.context;
    context.clear(&adapter.params().grads);
    let mut loss = 0.0;
    for batch in &batches {
        let pass = Pass::new(model, Some(adapter), batch.size(), Some(Recompute::None)).unwrap();
        pass.run(batch, &sft::targets(batch, total), [0, 0]);
        loss += f64::from(block_on(context.read::<f32>(&pass.targets.total, 0, 1)).unwrap()[0]);
    }
    (loss, block_on(adapter.params().read_grads()).unwrap().concat())
}

#[test]
fn packing_and_splitting_change_nothing() {
    let model = models::load(&models::context(), "nano");
    for (name, config) in every() {
        let adapter = create(&model, &config);
        for (index, tensor) in adapter.params().tensors.iter().enumerate() {
            let count = tensor.count();
            adapter.params().write(index, &hash::uniform(&tensor.name, count, 0.2));
        }
        let plain = gradients(&model, adapter.as_ref(), false, &[&[0], &[1], &[2], &[3], &[4], &[5]]);
        let ways: [(bool, &[&[usize]]); 3] =
            [(true, &[&[0, 1, 2, 3, 4, 5]]), (false, &[&[0, 1, 2, 3, 4, 5]]), (false, &[&[4, 2], &[0, 5, 1, 3]])];
        for (packing, batches) in ways {
            let got = gradients(&model, adapter.as_ref(), packing, batches);
            let off = (got.0 - plain.0).abs() / plain.0;
            let distance = tunesmith_tests::golden::rel_l2(&got.1, &plain.1);
            println!("{} packing {packing} {batches:?}: loss off {off:.1e}, gradients {distance:.1e}", name);
            assert!(off <= 1e-6 && distance <= 1e-6, "{} {batches:?}: {off:.1e}, {distance:.1e}", name);
        }
    }
}

#[test]
fn computing_again_changes_no_bit_and_needs_less_memory() {
    let model = models::load(&models::context(), "nano");
    for (name, mut config) in every() {
        if name == "lora" {
            config.lora_dropout = 0.25;
        }
        let adapter = create(&model, &config);
        for (index, tensor) in adapter.params().tensors.iter().enumerate() {
            let count = tensor.count();
            adapter.params().write(index, &hash::uniform(&tensor.name, count, 0.2));
        }
        let layout = Layout {
            packing: true,
            per_device_train_batch_size: 6,
            max_length: 256,
            virtual_tokens: adapter.virtual_tokens(),
            vocab_size: model.config.vocab,
        };
        // With a target in every row the last block, one of two, is as large as the other.
        let all = examples().into_iter().map(|example| Rendered { targets: vec![true; example.ids.len()], ..example });
        let batch = Dataset::new(all.collect(), layout).batch(&[0, 1, 2, 3, 4, 5]);
        let mut results = Vec::new();
        for recompute in [Recompute::None, Recompute::GateUp, Recompute::Block] {
            let pass = Pass::new(&model, Some(adapter.as_ref()), batch.size(), Some(recompute)).unwrap();
            model.context.clear(&adapter.params().grads);
            let stats = pass.run(&batch, &sft::targets(&batch, batch.target_tokens), [7, 3]);
            let loss = block_on(model.context.read::<f32>(&pass.targets.total, 0, 1)).unwrap();
            let grads = block_on(adapter.params().read_grads()).unwrap().concat();
            let bits: Vec<u32> = loss.iter().chain(&grads).map(|value| value.to_bits()).collect();
            results.push((bits, stats.arena_bytes, stats.dispatches));
        }
        let [(none, all, few), (gate_up, less, more), (block, least, many)] = results.try_into().unwrap();
        assert!(none == gate_up && none == block, "{}", name);
        assert!(least < less && less < all, "{}: {all}, {less}, {least} bytes", name);
        assert!(few < more && more < many, "{}: {few}, {more}, {many} dispatches", name);
    }
}

#[test]
fn scaling_the_loss_by_a_power_of_two_scales_the_gradients_exactly() {
    let model = models::load(&models::context(), "nano");
    let adapter = create(&model, &config(Method::Lora));
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: 6,
        max_length: 32,
        virtual_tokens: 0,
        vocab_size: model.config.vocab,
    };
    let batch = Dataset::new(examples(), layout).batch(&[0, 1, 2, 3, 4, 5]);
    let pass = Pass::new(&model, Some(adapter.as_ref()), batch.size(), Some(Recompute::None)).unwrap();
    let grads = |scale: f32| {
        model.context.clear(&adapter.params().grads);
        let targets = sft::targets(&batch, batch.target_tokens).into_iter();
        let targets: Vec<_> = targets.map(|(row, label, weight)| (row, label, weight * scale)).collect();
        pass.run(&batch, &targets, [0, 0]);
        block_on(adapter.params().read_grads()).unwrap().concat()
    };
    let (one, eight) = (grads(1.0), grads(8.0));
    assert!(one.iter().zip(&eight).all(|(one, eight)| one * 8.0 == *eight));
    assert!(one.iter().any(|&grad| grad != 0.0));
}

#[test]
fn peft_folders_give_pefts_losses() {
    let model = models::load(&models::context(), "nano");
    #[derive(serde::Deserialize)]
    struct Row {
        loss: f64,
        tokens: usize,
    }
    let expected: std::collections::BTreeMap<String, Vec<Row>> =
        tunesmith_tests::golden::json("nano/peft/expected.json");
    let text = std::fs::read_to_string(tunesmith_tests::golden::path("nano/peft/examples.jsonl")).unwrap();
    let import = tunesmith::data::import::import_jsonl("examples.jsonl", &text);
    assert!(import.errors.is_empty());
    let rows = tunesmith::train::prepare(&model, &config(Method::Lora), "examples.jsonl", &import.examples).unwrap();
    for (name, want) in expected {
        let file = |file: &str| std::fs::read(tunesmith_tests::golden::path(&format!("nano/peft/{name}/{file}")));
        let adapter = (name != "base").then(|| {
            block_on(io::load(&model, &name, &file(io::CONFIG).unwrap(), &file(io::TENSORS).unwrap())).unwrap()
        });
        let got = block_on(evaluate(&model, adapter.as_deref(), &rows)).unwrap();
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.tokens, want.tokens, "{name}");
            assert!((got.loss - want.loss).abs() <= 1e-4 * want.loss, "{name}: {} for {}", got.loss, want.loss);
        }
    }
}
