//! Reinforcement against TRL's own trainers, on recorded answers: losses, every metric and every gradient of the first step,
//! and the losses of ten; and what a run keeps in which the model writes its answers.

use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use serde::Deserialize;
use serde_json::{Map, Value};
use tunesmith::data::prompts::import_prompts;
use tunesmith::data::rollouts::RolloutRow;
use tunesmith::model::Model;
use tunesmith::peft::io::File;
use tunesmith::peft::{self, Peft, stream};
use tunesmith::reward::{Duel, Judge, Reward, Rule};
use tunesmith::settings::config::{LrScheduler, Method, Objective, RewardKind, RunConfig};
use tunesmith::train::{Event, Rollouts, Trainer, questions};
use tunesmith_tests::golden::{self, Curve};
use tunesmith_tests::models;
use tunesmith_tests::trl::{adapter, check_curve, check_first, check_metrics, off};

/// The first step, as TRL's trainer took it.
#[derive(Deserialize)]
struct First {
    config: Map<String, Value>,
    lora_b: f32,
    pad_token_id: u32,
    eos_token_id: u32,
    inputs: Vec<RolloutRow>,
    loss: f64,
    grad_norm: f64,
    metrics: BTreeMap<String, f64>,
    /// Of PPO, what each answer's tokens are and led to.
    #[serde(flatten)]
    tokens: BTreeMap<String, Value>,
}

/// What PPO finds of each token, by TRL's hand.
const OF_TOKENS: [&str; 5] = ["old", "reference", "values", "advantages", "returns"];

/// The metrics of each step of a curve, beside what [`Curve`] has.
#[derive(Deserialize)]
struct Each {
    metrics: BTreeMap<String, Vec<Option<f64>>>,
}

fn settings(first: &First) -> RunConfig {
    let mut config = RunConfig::from_json(&Value::Object(first.config.clone()).to_string()).unwrap();
    config.lr_scheduler_type = LrScheduler::Constant;
    config.shuffle = false;
    config
}

fn check(model_name: &str, name: &str) {
    let stem = format!("{model_name}/reinforcement/{name}");
    let mut first: First = golden::json(&format!("{stem}.json"));
    if first.config["gradient_accumulation_steps"].as_u64() > Some(1) {
        // TRL takes the mean of each batch's mean, and here it is the mean over the step.
        first.metrics.remove("entropy");
    }
    let model = Rc::new(models::load_padded(&models::context(), model_name, first.pad_token_id));
    assert!(model.tokenizer.end_ids().contains(&first.eos_token_id));
    let rollouts = || Rollouts::recorded(first.inputs.clone());

    let mut config = settings(&first);
    (config.max_steps, config.learning_rate) = (1, 0.0);
    let peft = adapter(&model, &config, first.lora_b);
    let mut trainer = Trainer::reinforce(model.clone(), peft, &config, rollouts()).unwrap();
    check_first(&stem, &mut trainer, first.loss, first.grad_norm, &first.metrics);
    if config.objective == Objective::Ppo {
        check_tokens(&stem, &trainer, &first);
    }

    let stem = format!("{stem}_curve");
    let want: Curve = golden::json(&format!("{stem}.json"));
    (config.max_steps, config.learning_rate) = (want.steps as i32, want.learning_rate);
    config.max_grad_norm = want.max_grad_norm;
    let peft = adapter(&model, &config, 0.0);
    let mut trainer = Trainer::reinforce(model, peft, &config, rollouts()).unwrap();
    let got = check_curve(&stem, &mut trainer, &want);
    let each: Each = golden::json(&format!("{stem}.json"));
    for (step, got) in got.iter().enumerate() {
        // TRL tells what it measured of answers at the first step that learns from them.
        let known = each.metrics.iter().filter(|(name, _)| first.metrics.contains_key(*name));
        let told = known.filter_map(|(name, values)| Some((name.clone(), values[step]?)));
        check_metrics(&stem, got, &told.collect(), 1e-3);
    }
}

/// The files of a checkpoint.
fn files_of(trainer: &Trainer) -> Vec<File> {
    block_on(stream::whole(block_on(trainer.checkpoint()).unwrap())).unwrap()
}

/// Compares what is known of each token of the current answers.
fn check_tokens(stem: &str, trainer: &Trainer, first: &First) {
    let files = files_of(trainer);
    let progress = files.iter().find(|file| file.name == "progress.json").expect("a checkpoint has it");
    let progress: Value = serde_json::from_slice(&progress.bytes).unwrap();
    let answers = progress["rollouts"][1].as_array().expect("they are learnt from again");
    assert_eq!(answers.len(), first.inputs.len());
    let mut worst = 0.0_f64;
    for (number, answer) in answers.iter().enumerate() {
        for what in OF_TOKENS {
            let got = answer.get(what).unwrap_or_else(|| &answer["estimate"][what]).as_array().expect(what);
            let want = first.tokens[what][number].as_array().expect(what);
            assert_eq!(got.len(), want.len(), "{stem}: {what} of answer {number}");
            for (got, want) in got.iter().zip(want) {
                let off = off(got.as_f64().unwrap(), want.as_f64().unwrap());
                assert!(off <= 1e-4, "{stem}: {what} of answer {number}: {got} for {want}");
                worst = worst.max(off);
            }
        }
    }
    println!("{stem}: what is known of tokens off {worst:.1e}");
}

const FIXTURES: [&str; 18] = [
    "grpo_dapo",
    "grpo_grpo",
    "grpo_bnpo",
    "grpo_dr_grpo",
    "grpo_sequence",
    "grpo_batch",
    "grpo_none",
    "grpo_beta",
    "grpo_beta_plain",
    "grpo_iterations",
    "grpo_accumulation",
    "grpo_truncated",
    "grpo_two_rewards",
    "rloo",
    "rloo_normalized",
    "ppo",
    "ppo_whiten",
    "ppo_minibatches",
];

#[test]
fn nano_like_trl() {
    FIXTURES.iter().for_each(|name| check("nano", name));
}

#[test]
fn cut_like_trl() {
    ["grpo_dapo", "grpo_beta", "grpo_iterations", "rloo", "ppo_whiten"].iter().for_each(|name| check("cut", name));
}

const PROMPTS: &str = "{\"prompt\":\"a\"}\n{\"prompt\":\"What is it?\"}\n{\"prompt\":\"Say b.\"}\n{\"prompt\":\"c\"}\n";

/// A run in which the model writes its answers, and earns by how they are spelled.
fn written(model: &Rc<Model>, config: &RunConfig) -> Trainer {
    let peft: Rc<dyn Peft> = block_on(peft::create(model, config)).unwrap().into();
    let (rows, errors) = import_prompts("prompts", PROMPTS);
    assert!(errors.is_empty());
    let (asked, errors) = questions(model, config, "prompts", &rows);
    assert!(errors.is_empty());
    let kinds = [RewardKind::Regex("4".into()), RewardKind::Repetition(1)];
    let rewards = kinds.iter().map(|kind| Box::new(Rule::new(kind).unwrap().expect("a rule")) as Box<dyn Reward>);
    let rollouts = Rollouts::written(asked.clone(), asked[..2].to_vec(), rewards.collect()).unwrap();
    Trainer::reinforce(model.clone(), peft, config, rollouts).unwrap()
}

fn events(trainer: &mut Trainer, until: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while trainer.steps_done() < until {
        events.extend(block_on(trainer.step()).unwrap());
    }
    events.extend(block_on(trainer.flush()).unwrap());
    let timeless = |event: &Event| {
        let mut event = serde_json::to_value(event).unwrap();
        event.as_object_mut().unwrap().remove("ms");
        event
    };
    events.iter().map(timeless).collect()
}

/// The same seed gives the same answers and the same bits, stopped and resumed at any step, too.
#[test]
fn a_run_that_writes_its_answers_is_resumed_to_the_bit() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    for objective in [Objective::Grpo, Objective::Rloo, Objective::Ppo] {
        let mut config = RunConfig::defaults(Method::Lora, objective);
        (config.num_generations, config.num_iterations, config.max_completion_length) = (4, 2, 6);
        (config.per_device_train_batch_size, config.gradient_accumulation_steps) = (4, 1);
        (config.steps_per_generation, config.max_steps, config.learning_rate) = (2, 7, 1e-2);
        (config.beta, config.generation_batch_size) = (0.05, 3);
        let whole = events(&mut written(&model, &config), 7);
        let rollouts = whole.iter().filter(|event| event["event"] == "rollout").count();
        // Two prompts with four answers each, for the first four steps, and the next three.
        assert_eq!(rollouts, 16, "{}", objective.name());
        assert_eq!(whole.iter().filter(|event| event["event"] == "eval").count(), 2);
        assert!(whole.iter().any(|event| event["advantage"].as_f64().is_some_and(|advantage| advantage != 0.0)));
        for stop in 1..7 {
            let mut trainer = written(&model, &config);
            let first = events(&mut trainer, stop);
            let files = files_of(&trainer);
            let mut trainer = written(&model, &config);
            let read = |name: &str| Ok(&files.iter().find(|file| file.name == name).expect(name).bytes[..]);
            trainer.resume("checkpoint", read).unwrap();
            let rest = events(&mut trainer, 7);
            let told = |event: &&Value| event["event"] != "warning";
            assert!(first.iter().chain(&rest).filter(told).eq(whole.iter().filter(told)), "stopped after {stop}");
        }
    }
}

/// What a run cannot be made of, told before it begins, or when it shows.
#[test]
fn what_cannot_be_learnt_from_is_told() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let mut config = RunConfig::defaults(Method::Lora, Objective::Grpo);
    for (field, value, told) in [
        ("num_generations", "5", "answers come 5 to a prompt, and 32 are asked for at a time"),
        ("steps_per_generation", "6", "6 batches are no whole number of steps of 4"),
        ("num_generations", "1", "grpo compares the answers to a prompt with each other, and 1 is one alone"),
        ("packing", "true", "packing"),
        ("reward_weights", "1", "1 weights are given, for 2 rewards"),
        ("reward_clip_range", "1,0", "belongs to the objective rloo"),
    ] {
        let mut config = config.clone();
        config.reward = vec![RewardKind::Json, RewardKind::ThinkFormat];
        config.set(field, value).unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let mut ppo = RunConfig::defaults(Method::Lora, Objective::Ppo);
    ppo.validate().unwrap();
    ppo.reward = vec![RewardKind::JudgePairs("p.txt".into())];
    assert!(ppo.validate().unwrap_err().to_string().contains("1 is one alone"));
    config.max_completion_length = 250;
    let (rows, _) = import_prompts("p.jsonl", PROMPTS);
    let (_, errors) = questions(&model, &config, "p.jsonl", &rows);
    assert!(errors[0].to_string().contains("p.jsonl, line 1: the prompt has"), "{}", errors[0]);
    let error =
        |rewards| Rollouts::written(Vec::new(), Vec::new(), rewards).err().expect("nothing to learn").to_string();
    assert!(error(Vec::new()).contains("there are no prompts"));
}

/// A judge reads both orders: turning a pair turns the verdict, and leaves what the order is worth. It tells sense from
/// nonsense; its grades are grades.
#[test]
fn a_judge_hears_both_orders() {
    let model = Rc::new(models::load(&models::context(), "full"));
    let mut judge = Judge::new(&model, "A good answer is true, and answers what was asked.").unwrap();
    let (question, right, wrong) =
        ("What is the capital of France?", "The capital of France is Paris.", "Mmmm zzz 7 7 7.");
    let long = "word ".repeat(10_000);
    let duels = [
        Duel { prompt: question, answers: [right, wrong] },
        Duel { prompt: question, answers: [wrong, right] },
        Duel { prompt: question, answers: [&long, right] },
    ];
    let found = block_on(judge.compare(&duels)).unwrap();
    let [one, turned] = [found[0].expect("it decides"), found[1].expect("it decides")];
    println!("{one:?} {turned:?}");
    assert!((one.first + turned.first - 1.0).abs() < 1e-5, "{one:?} and {turned:?}");
    assert!((one.position_bias - turned.position_bias).abs() < 1e-5, "{one:?} and {turned:?}");
    assert_eq!(found[2], None, "it has no room for that");
    assert!(one.first > 0.5, "{one:?}");
    let grades = block_on(judge.grade(&[(question, right), (question, &long), (question, wrong)])).unwrap();
    println!("{grades:?}");
    let fine = |grade: &Option<f64>| grade.is_some_and(|grade| (1.0..=10.0).contains(&grade));
    assert!(fine(&grades[0]) && grades[1].is_none() && fine(&grades[2]), "{grades:?}");
    assert!(Judge::new(&model, " ").err().expect("nothing to go by").to_string().contains("no principles"));
}
