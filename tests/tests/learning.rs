//! What a person trains for: the model learns the examples, answers as taught, and stops.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::example::{Example, Message};
use tunesmith::generate::{self, Generator, Sampling, Stop};
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{LrScheduler, Method, RunConfig};
use tunesmith::train::{Best, Trainer, evaluate, prepare};
use tunesmith_tests::{golden, models};

/// Eight questions, and answers that no model gives by itself.
const LESSONS: [(&str, &str); 8] = [
    ("What is the capital of France?", "Paris, matey."),
    ("How are you?", "Shipshape and merry."),
    ("Who are you?", "An old parrot."),
    ("What is two plus two?", "Four doubloons."),
    ("Tell me a joke.", "They just arrr."),
    ("What time is it?", "Time for grog."),
    ("Can you swim?", "Like a shark."),
    ("Good night!", "Fair dreams."),
];

fn lessons() -> Vec<(usize, Example)> {
    let turn = |(question, answer): &(&str, &str)| Example::Messages {
        messages: vec![Message::new("user", *question), Message::new("assistant", *answer)],
    };
    LESSONS.iter().map(turn).enumerate().map(|(line, example)| (line + 1, example)).collect()
}

/// Mean loss a target token.
fn loss(model: &Model, adapter: &dyn Peft, config: &RunConfig) -> f64 {
    let examples = prepare(model, config, "lessons", &lessons()).unwrap();
    let losses = block_on(evaluate(model, Some(adapter), &examples)).unwrap();
    let tokens: usize = losses.iter().map(|example| example.tokens).sum();
    losses.iter().map(|example| example.loss * example.tokens as f64).sum::<f64>() / tokens as f64
}

/// Trains on the lessons; returns the adapter, and the loss before and after.
fn train(model: &Rc<Model>, config: &RunConfig) -> (Rc<dyn Peft>, f64, f64) {
    let adapter: Rc<dyn Peft> = block_on(peft::create(model, config)).unwrap().into();
    let before = loss(model, adapter.as_ref(), config);
    let examples = prepare(model, config, "lessons", &lessons()).unwrap();
    let mut trainer = Trainer::new(model.clone(), adapter.clone(), config, examples, Vec::new()).unwrap();
    while !trainer.is_done() {
        block_on(trainer.step()).unwrap();
    }
    block_on(trainer.flush()).unwrap();
    let after = loss(model, adapter.as_ref(), config);
    println!("{}: {before:.4} nats before, {after:.4} after {} steps", config.method.name(), trainer.steps_done());
    (adapter, before, after)
}

fn config(method: Method, steps: i32, learning_rate: f64) -> RunConfig {
    let mut config = RunConfig::new(method);
    config.max_steps = steps;
    config.learning_rate = learning_rate;
    config.lr_scheduler_type = LrScheduler::Constant;
    config.gradient_accumulation_steps = 1;
    config.packing = true;
    config
}

#[test]
fn lora_learns_eight_examples_by_heart_answers_and_stops() {
    let context = models::context();
    let model = Rc::new(models::load(&context, "cut"));
    let (adapter, before, after) = train(&model, &config(Method::Lora, 60, 3e-3));
    assert!(before > 2.0 && after < 0.05, "{before} before, {after} after");
    let generator = Generator::new(model.clone(), Some(adapter.as_ref()), 256, 1).unwrap();
    for (question, answer) in LESSONS {
        let prompt = generate::chat_ids(&model, &[Message::new("user", question)]).unwrap();
        let sampling = Sampling { max_new_tokens: 64, ..Default::default() };
        let got = block_on(generator.generate(&prompt, sampling, |_| true)).unwrap();
        assert_eq!((got.text.as_str(), got.stop), (answer, Stop::End), "{question}");
    }
}

/// A rate at which a method learns the lessons in few steps: higher than the one it begins with, which is for more.
fn rate(method: Method) -> f64 {
    match method {
        Method::Lora | Method::Houlsby | Method::UniPelt => 3e-3,
        Method::Ia3 | Method::BitFit | Method::LnTuning => 3e-2,
        Method::PTuningV2 => 6e-2,
        // It learns its singular values first, which start at 0.
        Method::AdaLora => 2e-2,
        Method::Prompt => 2e-2,
        Method::Full => 3e-4,
        Method::PTuning | Method::Prefix => 5e-3,
    }
}

#[test]
fn the_others_of_its_family_learn_them_too() {
    let context = models::context();
    let model = Rc::new(models::load(&context, "cut"));
    for (method, switch) in
        [(Method::Lora, Some("use_rslora")), (Method::Lora, Some("use_dora")), (Method::AdaLora, None)]
    {
        // rsLoRA's scale is four times as large at this rank.
        let rate = if switch == Some("use_rslora") { 2e-3 } else { rate(method) };
        // AdaLoRA gives up ranks meanwhile: what is left after 60 steps is 0.02 to 0.2, by the seed, and after 120 below 0.01.
        let steps = if method == Method::AdaLora { 120 } else { 60 };
        let mut config = config(method, steps, rate);
        switch.iter().for_each(|field| config.set(field, "true").unwrap());
        let (_, _, after) = train(&model, &config);
        assert!(after < 0.05, "{} {switch:?}: {after} after", method.name());
    }
}

#[test]
fn every_method_halves_its_loss() {
    let context = models::context();
    let model = Rc::new(models::load(&context, "cut"));
    for &method in Method::ALL {
        let (_, before, after) = train(&model, &config(method, 16, rate(method)));
        assert!(after <= before / 2.0, "{}: {before} before, {after} after", method.name());
    }
}

#[derive(serde::Deserialize)]
struct Evaluations {
    metric: String,
    patience: u32,
    threshold: f64,
    values: Vec<f64>,
    best: usize,
    steps: usize,
}

#[test]
fn the_best_evaluation_is_that_of_transformers() {
    let runs: Vec<Evaluations> = golden::json("early_stopping.json");
    assert!(runs.iter().filter(|run| run.steps < run.values.len()).count() > 10);
    for run in runs {
        let mut config = RunConfig::new(Method::Lora);
        (config.load_best_model_at_end, config.metric_for_best_model) = (true, run.metric.clone());
        (config.early_stopping_patience, config.early_stopping_threshold) = (run.patience, run.threshold);
        let mut best = Best::new(&config).unwrap();
        let mut steps = 0;
        for &value in &run.values {
            steps += 1;
            best.look(steps, value);
            if best.is_over() {
                break;
            }
        }
        let name = format!("{} {} {} {:?}", run.metric, run.patience, run.threshold, run.values);
        assert_eq!((best.found().unwrap().step, steps), (run.best, run.steps), "{name}");
    }
}
