//! What the frozen lower blocks made of an example is used again, and nothing changes but the work.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::import::import_jsonl;
use tunesmith::gpu::PlanStats;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::train::{Event, Trainer, prepare};
use tunesmith_tests::models;

const DATA: &str = r#"{"text": "One short line."}
{"text": "Another line, a little longer than the first one was, so that lengths differ from each other."}
{"prompt": "What is the capital of France?", "completion": "Paris."}
{"text": "A last one."}
{"text": "And one that is longer than all the others, because it goes on and on about nothing in particular, until it ends."}"#;

/// Losses and adapter of a run, all of it in bits, and what each step cost.
fn run(model: &Rc<Model>, fields: &[(&str, &str)]) -> (Vec<u64>, Vec<u32>, Vec<PlanStats>) {
    let mut config = RunConfig::new(Method::Lora);
    let given = [("num_train_epochs", "3"), ("lora_dropout", "0.1"), ("learning_rate", "1e-3"), ("raw", "true")];
    for (field, value) in given.iter().chain(fields) {
        config.set(field, value).unwrap();
    }
    let import = import_jsonl("data", DATA);
    let examples = prepare(model, &config, "data", &import.examples).unwrap();
    let peft: Rc<dyn Peft> = block_on(peft::create(model, &config)).unwrap().into();
    let mut trainer = Trainer::new(model.clone(), peft.clone(), &config, examples, Vec::new()).unwrap();
    let (mut events, mut stats) = (Vec::new(), Vec::new());
    while !trainer.is_done() {
        events.extend(block_on(trainer.step()).unwrap());
        stats.push(trainer.stats());
    }
    let loss = |event: &Event| if let Event::Step { loss, .. } = event { Some(loss.to_bits()) } else { None };
    let values = block_on(peft.params().read()).unwrap().concat();
    (events.iter().filter_map(loss).collect(), values.iter().map(|value| value.to_bits()).collect(), stats)
}

#[test]
fn later_epochs_reuse_the_trunk_to_the_bit() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let last = format!(r"model\.layers\.{}\..*", model.config.layers - 1);
    let packed = [("packing", "true"), ("per_device_train_batch_size", "2"), ("max_length", "48")];
    let layouts: [&[(&str, &str)]; 4] = [
        &[("gradient_accumulation_steps", "1")],
        &[("per_device_train_batch_size", "2")],
        &packed,
        &[("recompute", "block")],
    ];
    for layout in layouts {
        let with = |fields: &[(&'static str, &str)]| {
            let fields: Vec<_> =
                [("target_modules", last.as_str())].iter().chain(layout).chain(fields).copied().collect();
            run(&model, &fields)
        };
        let (losses, adapter, stats) = with(&[]);
        let (same_losses, same_adapter, whole) = with(&[("trunk_cache", "0")]);
        assert_eq!(losses, same_losses, "{layout:?}");
        assert_eq!(adapter, same_adapter, "{layout:?}");
        assert!(losses.first() != losses.last());
        let (first, later) = (stats[0].dispatches, stats.last().unwrap().dispatches);
        assert!(later < first, "{layout:?}: {later} dispatches in the last step, {first} in the first");
        assert_eq!(whole[0].dispatches, first, "{layout:?}");
    }
}

#[test]
fn a_method_that_begins_at_the_bottom_has_no_trunk() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let (_, _, stats) = run(&model, &[("per_device_train_batch_size", "5"), ("gradient_accumulation_steps", "1")]);
    assert!(stats.iter().all(|step| step.dispatches == stats[0].dispatches));
}
