//! What a run is said to need on the device, against what it then has there.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::import::import_jsonl;
use tunesmith::data::prompts::import_prompts;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft};
use tunesmith::reward::Rule;
use tunesmith::settings::config::{Method, RewardKind, RunConfig};
use tunesmith::train::{Rollouts, Trainer, estimate, estimate_run, prepare, questions};
use tunesmith_tests::models;

const DATA: &str = r#"{"text": "One short line."}
{"text": "Another line, a little longer than the first one was, so that lengths differ from each other."}
{"prompt": "What is the capital of France?", "completion": "Paris, of course: it lies on the Seine."}
{"text": "And one that is longer than all the others, because it goes on and on about nothing in particular, until it ends."}"#;

/// Method, and fields that make a run need more or less.
const CONFIGS: [(Method, &[(&str, &str)]); 12] = [
    (Method::Lora, &[]),
    (Method::Lora, &[("recompute", "gate-up")]),
    (Method::Lora, &[("recompute", "block")]),
    (Method::Lora, &[("r", "4")]),
    (Method::Lora, &[("r", "64"), ("target_modules", "q_proj,v_proj")]),
    (Method::Lora, &[("packing", "true"), ("per_device_train_batch_size", "8")]),
    (Method::Lora, &[("packing", "true"), ("per_device_train_batch_size", "8"), ("recompute", "block")]),
    (Method::Lora, &[("per_device_train_batch_size", "3")]),
    (Method::Lora, &[("lora_dropout", "0.1")]),
    (Method::Prompt, &[]),
    (Method::Prompt, &[("num_virtual_tokens", "100"), ("per_device_train_batch_size", "4")]),
    (Method::Prompt, &[("packing", "true"), ("recompute", "block")]),
];

#[test]
fn a_run_needs_what_was_estimated() {
    for (method, fields) in CONFIGS {
        let mut config = RunConfig::new(method);
        let given = [("max_steps", "3"), ("gradient_accumulation_steps", "2"), ("recompute", "none")];
        for (field, value) in given.iter().chain(fields) {
            config.set(field, value).unwrap();
        }
        // A context of its own counts this run alone.
        let model = models::load(&models::context(), "cut");
        let import = import_jsonl("data", DATA);
        let examples = prepare(&model, &config, "data", &import.examples).unwrap();
        let held_out = examples[..2].to_vec();
        let before = model.context.bytes();
        let estimates = block_on(estimate(&model, &config, &examples, &held_out)).unwrap();
        assert_eq!(model.context.bytes(), before, "an estimate leaves nothing behind");
        let said = estimates.iter().find(|estimate| estimate.recompute == config.recompute).unwrap();

        let model = Rc::new(model);
        let peft: Rc<dyn Peft> = block_on(peft::create(&model, &config)).unwrap().into();
        let mut trainer = Trainer::new(model.clone(), peft, &config, examples, held_out).unwrap();
        while !trainer.is_done() {
            block_on(trainer.step()).unwrap();
        }
        let needed = model.context.bytes().peak;
        let ratio = said.total as f64 / needed as f64;
        println!("{} {fields:?}: {} bytes said, {needed} needed, {ratio:.4}", method.name(), said.total);
        assert!((0.98..=1.02).contains(&ratio), "{} {fields:?}: {said:?} for {needed} bytes", method.name());
        assert_eq!(trainer.stats().arena_bytes.max(said.activations), said.activations);
        let whole = said.model + said.adapter + said.activations;
        assert!(whole <= said.total && whole * 10 > said.total * 8, "{said:?}");
    }
}

/// Pairs of texts of several lengths.
const PAIRS: &str = r#"{"prompt":"What is the capital of France? ","chosen":"Paris, as everybody knows.","rejected":"It is hard to say, for there are many towns in France."}
{"prompt":"Name a colour. ","chosen":"Blue.","rejected":"There are red, green, blue and a great many others, all of them fine."}
{"prompt":"Say yes or no to this long question that goes on and on. ","chosen":"Yes.","rejected":"No."}
{"prompt":"Count. ","chosen":"One, two, three, four, five, six, seven.","rejected":"One."}"#;

#[test]
fn a_run_that_compares_needs_what_was_estimated() {
    let configs: [(&str, &[(&str, &str)]); 4] = [
        ("dpo", &[("per_device_train_batch_size", "2")]),
        ("kto", &[("per_device_train_batch_size", "4"), ("gradient_accumulation_steps", "1")]),
        ("orpo", &[("packing", "true"), ("recompute", "block")]),
        ("reward", &[("target_modules", "q_proj,v_proj")]),
    ];
    for (objective, fields) in configs {
        let mut config = RunConfig::new(Method::Lora);
        let given = [("objective", objective), ("max_steps", "3"), ("recompute", "none")];
        for (field, value) in given.iter().chain(fields) {
            config.set(field, value).unwrap();
        }
        let model = models::load(&models::context(), "cut");
        let import = import_jsonl("data", PAIRS);
        let examples = prepare(&model, &config, "data", &import.examples).unwrap();
        let held_out = examples[..2].to_vec();
        let estimates = block_on(estimate(&model, &config, &examples, &held_out)).unwrap();
        let said = estimates.iter().find(|estimate| estimate.recompute == config.recompute).unwrap();

        let model = Rc::new(model);
        let peft: Rc<dyn Peft> = block_on(peft::create(&model, &config)).unwrap().into();
        let mut trainer = Trainer::new(model.clone(), peft, &config, examples, held_out).unwrap();
        while !trainer.is_done() {
            block_on(trainer.step()).unwrap();
        }
        let needed = model.context.bytes().peak;
        let ratio = said.total as f64 / needed as f64;
        println!("{objective} {fields:?}: {} bytes said, {needed} needed, {ratio:.4}", said.total);
        assert!((0.9..=1.1).contains(&ratio), "{objective} {fields:?}: {said:?} for {needed} bytes");
    }
}

const PROMPTS: &str = r#"{"prompt":"What is the capital of France?"}
{"prompt":"Name a colour."}
{"prompt":"Say yes or no to this long question that goes on and on."}
{"prompt":"Count."}"#;

#[test]
fn a_run_that_writes_its_answers_needs_what_was_estimated() {
    let configs: [(&str, &[(&str, &str)]); 5] = [
        ("grpo", &[]),
        ("ppo", &[]),
        ("grpo", &[("beta", "0.04"), ("num_iterations", "2"), ("recompute", "block")]),
        (
            "grpo",
            &[("generation_batch_size", "4"), ("per_device_train_batch_size", "4"), ("max_completion_length", "40")],
        ),
        ("rloo", &[("target_modules", "q_proj,v_proj")]),
    ];
    for (objective, fields) in configs {
        let mut config = RunConfig::new(Method::Lora);
        let given = [
            ("objective", objective),
            ("max_steps", "2"),
            ("recompute", "none"),
            ("num_generations", "4"),
            ("per_device_train_batch_size", "8"),
            ("gradient_accumulation_steps", "1"),
            ("max_completion_length", "16"),
        ];
        for (field, value) in given.iter().chain(fields) {
            config.set(field, value).unwrap();
        }
        let rollouts = |model: &Model| {
            let (rows, _) = import_prompts("prompts", PROMPTS);
            let (asked, errors) = questions(model, &config, "prompts", &rows);
            assert!(errors.is_empty());
            let rule = Rule::new(&RewardKind::MaxWords(5)).unwrap().expect("a rule");
            Rollouts::written(asked.clone(), asked, vec![Box::new(rule)]).unwrap()
        };
        let model = models::load(&models::context(), "nano");
        let run = |model: &Rc<Model>, peft: Rc<dyn Peft>, config: &RunConfig| {
            Trainer::reinforce(model.clone(), peft, config, rollouts(model))
        };
        let estimates = block_on(estimate_run(&model, &config, run)).unwrap();
        let said = estimates.iter().find(|estimate| estimate.recompute == config.recompute).unwrap();

        let model = Rc::new(model);
        let peft: Rc<dyn Peft> = block_on(peft::create(&model, &config)).unwrap().into();
        let mut trainer = run(&model, peft, &config).unwrap();
        while !trainer.is_done() {
            block_on(trainer.step()).unwrap();
        }
        let needed = model.context.bytes().peak;
        let ratio = said.total as f64 / needed as f64;
        println!("{objective} {fields:?}: {} bytes said, {needed} needed, {ratio:.4}", said.total);
        assert!((0.9..=1.1).contains(&ratio), "{objective} {fields:?}: {said:?} for {needed} bytes");
    }
}

#[test]
fn recompute_auto_takes_the_fastest_way_that_fits() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let mut config = RunConfig::new(Method::Lora);
    config.set("packing", "true").unwrap();
    config.set("per_device_train_batch_size", "8").unwrap();
    let import = import_jsonl("data", &[DATA; 20].join("\n"));
    let examples = prepare(&model, &config, "data", &import.examples).unwrap();
    let chosen = |megabytes: u32| {
        let mut config = config.clone();
        config.set("memory_limit", &megabytes.to_string()).unwrap();
        let peft: Rc<dyn Peft> = block_on(peft::create(&model, &config)).unwrap().into();
        let trainer = Trainer::new(model.clone(), peft, &config, examples.clone(), Vec::new()).unwrap();
        trainer.config().recompute
    };
    let estimates = block_on(estimate(&model, &config, &examples, &[])).unwrap();
    let expected = |megabytes: u32| {
        let fits = |estimate: &&tunesmith::train::Estimate| estimate.total <= u64::from(megabytes) * 1_000_000;
        estimates.iter().find(fits).unwrap_or(estimates.last().unwrap()).recompute
    };
    for estimate in &estimates {
        // With a megabyte to spare it fits; with one too few it does not.
        let megabytes = (estimate.total / 1_000_000) as u32;
        assert_eq!(chosen(megabytes + 2), estimate.recompute, "{estimates:?}");
        assert_eq!(chosen(megabytes - 1), expected(megabytes - 1), "{estimates:?}");
    }
    assert_eq!(chosen(1).name(), "block", "nothing fits: the leanest");
}
