//! Objectives against TRL's own trainers: losses, every metric and every gradient of the first step, and the losses of
//! twenty; and what every objective must keep with every tuning method.

use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use serde::Deserialize;
use serde_json::{Map, Value};
use tunesmith::data::render::Rendered;
use tunesmith::data::rollouts::RolloutRow;
use tunesmith::model::Model;
use tunesmith::peft::{self, Peft, stream};
use tunesmith::settings::config::{LrScheduler, Method, Objective, Rows, RunConfig};
use tunesmith::train::{Rollouts, Trainer};
use tunesmith_tests::golden::{self, Curve, hash};
use tunesmith_tests::models;
use tunesmith_tests::trl::{adapter, check_curve, check_first, check_metrics, steps};

/// The first step of an objective, as TRL's trainer took it.
#[derive(Deserialize)]
struct First {
    config: Map<String, Value>,
    lora_b: f32,
    pad_token_id: u32,
    inputs: Vec<Row>,
    loss: f64,
    grad_norm: f64,
    metrics: BTreeMap<String, f64>,
}

/// A row of ids: a pair, or a single answer.
#[derive(Deserialize)]
struct Row {
    prompt_ids: Vec<u32>,
    #[serde(default)]
    chosen_ids: Vec<u32>,
    #[serde(default)]
    rejected_ids: Vec<u32>,
    #[serde(default)]
    completion_ids: Vec<u32>,
    label: Option<bool>,
    #[serde(default)]
    margin: f64,
}

impl Row {
    fn sequences(&self) -> Vec<Rendered> {
        let answers = match self.label {
            Some(_) => vec![&self.completion_ids],
            None => vec![&self.chosen_ids, &self.rejected_ids],
        };
        let sequence = |answer: &Vec<u32>| Rendered {
            ids: [self.prompt_ids.as_slice(), answer].concat(),
            targets: [vec![false; self.prompt_ids.len()], vec![true; answer.len()]].concat(),
            label: self.label,
            margin: self.margin,
            ..Rendered::default()
        };
        answers.into_iter().map(sequence).collect()
    }
}

/// The metrics of the last step of a curve, beside what [`Curve`] has.
#[derive(Deserialize)]
struct Last {
    metrics: BTreeMap<String, f64>,
}

fn settings(first: &First) -> RunConfig {
    let mut config = RunConfig::new(Method::Lora);
    for (key, value) in &first.config {
        config.set(key, value.to_string().trim_matches('"')).unwrap();
    }
    config.gradient_accumulation_steps = 1;
    config.lr_scheduler_type = LrScheduler::Constant;
    config.shuffle = false;
    config
}

/// One objective on one model, against TRL; the first `curve` steps of twenty.
fn check(model_name: &str, name: &str, curve: usize) {
    let stem = format!("{model_name}/objectives/{name}");
    let first: First = golden::json(&format!("{stem}.json"));
    let model = Rc::new(models::load_padded(&models::context(), model_name, first.pad_token_id));
    let examples: Vec<Rendered> = first.inputs.iter().flat_map(Row::sequences).collect();

    let mut config = settings(&first);
    (config.max_steps, config.learning_rate) = (1, 0.0);
    let peft = adapter(&model, &config, first.lora_b);
    let mut trainer = Trainer::new(model.clone(), peft, &config, examples.clone(), Vec::new()).unwrap();
    check_first(&stem, &mut trainer, first.loss, first.grad_norm, &first.metrics);

    let stem = format!("{stem}_curve");
    let want: Curve = golden::json(&format!("{stem}.json"));
    (config.max_steps, config.learning_rate) = (curve as i32, want.learning_rate);
    let peft = adapter(&model, &config, 0.0);
    let mut trainer = Trainer::new(model, peft, &config, examples, Vec::new()).unwrap();
    let got = check_curve(&stem, &mut trainer, &want);
    if curve == want.steps {
        let last: Last = golden::json(&format!("{stem}.json"));
        check_metrics(&stem, got.last().expect("there are steps"), &last.metrics, 1e-3);
    }
}

/// The objectives that have fixtures on every model but the full one.
const OBJECTIVES: [&str; 12] = [
    "dpo_sigmoid",
    "dpo_ipo",
    "dpo_hinge",
    "dpo_robust",
    "kto",
    "kto_weights",
    "orpo",
    "cpo_sigmoid",
    "simpo",
    "simpo_nll",
    "reward",
    "reward_eos",
];

#[test]
fn nano_like_trl() {
    OBJECTIVES.iter().for_each(|name| check("nano", name, 20));
}

#[test]
fn cut_like_trl() {
    OBJECTIVES.iter().for_each(|name| check("cut", name, 20));
}

#[test]
fn full_like_trl() {
    ["dpo_sigmoid", "reward_eos"].iter().for_each(|name| check("full", name, 5));
}

/// Four groups of hashed sequences, for any objective.
fn groups(objective: Objective) -> Vec<Rendered> {
    let sides = [[9, 6], [5, 11], [8, 4], [12, 7]];
    let sequence = |group: usize, side: usize, answer: usize| {
        let prompt = hash::hashed_ids(&format!("objectives.{group}"), 3 + group, 259);
        let answer = hash::hashed_ids(&format!("objectives.{group}.{side}"), answer, 259);
        Rendered {
            ids: [prompt.as_slice(), &answer].concat(),
            targets: [vec![false; prompt.len()], vec![true; answer.len()]].concat(),
            label: (objective.group() == 1).then_some(group.is_multiple_of(2)),
            margin: 0.25,
            ..Rendered::default()
        }
    };
    let group = |(group, lengths): (usize, &[usize; 2])| {
        (0..objective.group()).map(|side| sequence(group, side, lengths[side])).collect::<Vec<_>>()
    };
    sides.iter().enumerate().flat_map(group).collect()
}

/// Four prompts with two hashed answers each, and what those earned.
fn answers() -> Vec<RolloutRow> {
    let answer = |sequence: Rendered, earned: f64| RolloutRow {
        prompt_ids: sequence.ids[..sequence.prompt_tokens()].to_vec(),
        completion_ids: sequence.ids[sequence.prompt_tokens()..].to_vec(),
        rewards: Map::from_iter([("made-up".to_owned(), earned.into())]),
        logps: None,
    };
    let earned = [1.0, 0.0, -0.5, 0.5, 0.25, 2.0, 0.0, 0.75];
    groups(Objective::Dpo).into_iter().zip(earned).map(|(sequence, earned)| answer(sequence, earned)).collect()
}

/// The losses of a run, and the tensors it ends with; with `stop`, it is stopped after so many steps and resumed.
fn run(model: &Rc<Model>, config: &RunConfig, stop: Option<usize>) -> (Vec<f64>, Vec<Vec<f32>>) {
    let fresh = || -> Trainer {
        let peft: Rc<dyn Peft> = block_on(peft::create(model, config)).unwrap().into();
        if config.objective.rows() == Rows::Prompts {
            return Trainer::reinforce(model.clone(), peft, config, Rollouts::recorded(answers())).unwrap();
        }
        Trainer::new(model.clone(), peft, config, groups(config.objective), Vec::new()).unwrap()
    };
    let mut trainer = fresh();
    let mut losses = Vec::new();
    if let Some(stop) = stop {
        while trainer.steps_done() < stop {
            block_on(trainer.step()).unwrap();
        }
        block_on(trainer.flush()).unwrap();
        let files = block_on(stream::whole(block_on(trainer.checkpoint()).unwrap())).unwrap();
        trainer = fresh();
        let read = |name: &str| Ok(&files.iter().find(|file| file.name == name).expect(name).bytes[..]);
        trainer.resume("checkpoint", read).unwrap();
    }
    for (loss, grad_norm, metrics) in steps(&mut trainer) {
        let finite = loss.is_finite() && grad_norm.is_finite();
        assert!(finite && metrics.values().all(Value::is_number), "{loss}, {grad_norm}, {metrics:?}");
        losses.push(loss);
    }
    (losses, block_on(trainer.peft().params().read()).unwrap())
}

/// What every objective must keep with every tuning method.
#[test]
fn every_objective_with_every_method() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let base = || {
        let examples = groups(Objective::Orpo);
        block_on(tunesmith::train::evaluate(&model, None, &examples)).unwrap()
    };
    let before = base();
    let names = Method::ALL.iter().map(|method| method.name()).chain(["rslora", "dora"]);
    for method in names {
        for &objective in &Objective::ALL[1..] {
            let name = format!("{} with {method}", objective.name());
            let mut config = RunConfig::new(Method::Lora);
            config.set("method", method).unwrap();
            config.set("objective", objective.name()).unwrap();
            (config.r, config.num_virtual_tokens, config.max_steps) = (3, 5, 4);
            (config.per_device_train_batch_size, config.gradient_accumulation_steps) = (1, 2);
            config.learning_rate = 1e-3;
            let reinforces = objective.rows() == Rows::Prompts;
            if reinforces {
                // Stopped where the answers of a generation have been learnt from once, of three times.
                (config.num_generations, config.num_iterations, config.beta) = (2, 3, 0.1);
            }
            let (losses, tensors) = run(&model, &config, None);
            assert_eq!(losses.len(), 4, "{name}");
            let (again, ended) = run(&model, &config, Some(2));
            assert_eq!(again, losses[2..], "{name}: resumed");
            assert!(ended == tensors, "{name}: a resumed run ends elsewhere");
            if reinforces {
                // All eight answers make a step, two at a time or all at once.
                (config.num_iterations, config.max_steps) = (1, 1);
                let step = |config: &mut RunConfig, at_once: u32| {
                    config.per_device_train_batch_size = at_once;
                    config.gradient_accumulation_steps = 8 / at_once;
                    run(&model, config, None).1
                };
                let (split, whole) = (step(&mut config, 2), step(&mut config, 8));
                let (split, whole) = (split.concat(), whole.concat());
                let apart: f32 = split.iter().zip(&whole).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
                let size: f32 = whole.iter().map(|value| value * value).sum::<f32>().sqrt();
                assert!(apart <= 1e-5 * size, "{name}: {apart} of {size} apart when split");
                continue;
            }
            // All four groups make a step, each as a batch of its own, or packed into one or two.
            (config.max_steps, config.gradient_accumulation_steps) = (1, 4);
            let (split, _) = run(&model, &config, None);
            (config.packing, config.per_device_train_batch_size, config.max_length) = (true, 4, 24);
            let (packed, _) = run(&model, &config, None);
            let apart = (split[0] - packed[0]).abs() / split[0].abs().max(1e-3);
            assert!(apart <= 1e-6, "{name}: {} packed, {} split", packed[0], split[0]);
        }
    }
    assert_eq!(base(), before, "the base is as it was");
}
