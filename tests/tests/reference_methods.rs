//! The f64 reference of every tuning method: against PEFT where PEFT has the method, and all of it against central
//! differences.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tunesmith_tests::golden::hash::{self, VIRTUAL_TOKENS, uniform};
use tunesmith_tests::golden::methods::{self, AdaLora, METHODS};
use tunesmith_tests::golden::{self, Curve, Example, Gradients, Inputs, Summary, nano};
use tunesmith_tests::reference::{
    AdamW, Allocator, Batch, Decoder, Function, Matrix, Method, Module, Schedule, Tensors, check_gradient,
};

/// What f32 leaves of a fixture's f64 numbers, with room for sums in another order.
const ROUNDED: f64 = 3e-7;

const PLAIN: Method = Method { scale: 2.0, orthogonality: 0.0, function: Function::Relu, prefix: false };

fn inputs() -> Inputs {
    golden::json("nano/inputs.json")
}

fn relative(got: f64, want: f64) -> f64 {
    ((got - want) / want).abs()
}

fn config(folder: &str) -> Value {
    golden::json(&format!("nano/methods/{folder}/adapter_config.json"))
}

fn method(config: &Value) -> Method {
    let number = |key: &str| config[key].as_f64().unwrap_or(0.0);
    let (alpha, r) = (number("lora_alpha"), number("r"));
    let scale = match config["peft_type"].as_str() {
        Some("ADALORA") => alpha / (number("init_r") + 1e-5),
        _ if config["use_rslora"] == true => alpha / r.sqrt(),
        _ => alpha / r,
    };
    let prefix = config["peft_type"] == "PREFIX_TUNING";
    Method { scale, orthogonality: number("orth_reg_weight"), prefix, ..PLAIN }
}

/// A vector is one row.
fn matrix(shape: &[usize], values: &[f32]) -> Matrix {
    let cols = shape[shape.len() - 1];
    Matrix::from_f32(shape.iter().product::<usize>() / cols, cols, values)
}

/// The trained tensors of a fixture, each made of its name and shape.
fn tensors(stem: &str, value: impl Fn(&str, &[usize]) -> Matrix) -> Tensors {
    let (summary, file) = (Summary::read(stem), golden::Tensors::read(&format!("{stem}.safetensors")));
    let tensor = |name: &String| (name.clone(), value(name, &file.f32(name).0));
    summary.names().iter().map(tensor).collect()
}

fn hashed(name: &str, shape: &[usize]) -> Matrix {
    matrix(shape, &methods::hashed(name, shape))
}

/// A tensor as its method makes it, where that is not drawn at random.
fn untouched(model: &Decoder, name: &str, shape: &[usize]) -> Matrix {
    let zeros = matrix(shape, &vec![0.0; shape.iter().product()]);
    let weights = model.weights();
    let weight = |suffix: &str| {
        let place = name.strip_prefix("base_model.model.").and_then(|name| name.strip_suffix(suffix));
        &weights[&format!("{}.weight", place.expect("the tensor's place in the model"))]
    };
    if name.contains("ia3_l") {
        zeros.map(|_| 1.0)
    } else if name.contains("ln_tuning_layers") {
        weight(".ln_tuning_layers.weight").clone()
    } else if name.contains("lora_magnitude_vector") {
        let weight = weight(".lora_magnitude_vector");
        let norm = |row| weight.row(row).iter().map(|w| w * w).sum::<f64>().sqrt() as f32;
        matrix(shape, &(0..weight.rows).map(norm).collect::<Vec<f32>>())
    } else {
        zeros
    }
}

fn batch(example: &Example, method: Method, tensors: &Tensors, weight: f64) -> Batch {
    let tokens = ["prompt_embeddings", "embedding.weight"].iter().find_map(|name| tensors.get(*name));
    let rows = tokens.filter(|_| !method.prefix).map_or(0, |tokens| tokens.rows);
    Batch::example(&example.input_ids, &example.labels, rows, nano::VOCAB, weight)
}

fn targets(example: &Example) -> usize {
    example.labels.iter().skip(1).filter(|label| **label >= 0).count()
}

fn gradients(model: &Decoder, method: Method, tensors: &Tensors, example: &Example) -> (f64, Tensors) {
    let batch = batch(example, method, tensors, 1.0 / targets(example) as f64);
    model.loss_and_gradients(method, tensors, &batch)
}

fn check_gradients(stem: &str, method: Method, tensors: &Tensors) {
    let (model, step) = (Decoder::nano(), inputs().step);
    let (want, summary): (Gradients, _) = (golden::json(&format!("{stem}.json")), Summary::read(stem));
    let (loss, gradients) = gradients(&model, method, tensors, &step);
    assert!(relative(loss, want.loss) < ROUNDED, "{stem}: a loss of {loss}, not {}", want.loss);
    let objective = model.objective(method, tensors, &batch(&step, method, tensors, 1.0 / want.target_tokens as f64));
    let off = (objective - loss - want.penalty).abs();
    assert!(off < ROUNDED, "{stem}: a penalty of {}, not {}", objective - loss, want.penalty);
    assert_eq!(gradients.len(), summary.names().len());
    let off = |(name, gradient): (&String, &Matrix)| (summary.rel_l2(name, &gradient.to_f32()), name.clone());
    let worst = gradients.iter().map(off).max_by(|a, b| a.0.total_cmp(&b.0)).expect("a method has tensors");
    println!("{stem}: {} tensors, worst {:.1e} at {}", gradients.len(), worst.0, worst.1);
    assert!(worst.0 < ROUNDED, "{stem}: {:e} at {}", worst.0, worst.1);
}

#[test]
fn gradients_are_those_of_peft() {
    for name in METHODS {
        let stem = format!("nano/methods/{name}/gradients");
        check_gradients(&stem, method(&config(&format!("{name}/adapter"))), &tensors(&stem, hashed));
    }
    let lora = tensors("nano/lora_gradients", |name, shape| {
        matrix(shape, &hash::lora_init(name, [shape[0], shape[1]], hash::LORA_B))
    });
    check_gradients("nano/lora_gradients", PLAIN, &lora);
    let prompt = Matrix::from_f32(VIRTUAL_TOKENS, nano::CHANNELS, &hash::prompt_init(nano::CHANNELS));
    check_gradients("nano/prompt_gradients", PLAIN, &[("prompt_embeddings".into(), prompt)].into());
}

#[test]
fn folders_give_pefts_losses() {
    #[derive(Deserialize)]
    struct Row {
        loss: f64,
        tokens: usize,
    }
    let (model, examples) = (Decoder::nano(), inputs().curve);
    for name in METHODS {
        let expected: BTreeMap<String, Vec<Row>> = golden::json(&format!("nano/methods/{name}/expected.json"));
        for (folder, rows) in expected {
            let method = method(&config(&format!("{name}/{folder}")));
            let file = golden::Tensors::read(&format!("nano/methods/{name}/{folder}/adapter_model.safetensors"));
            // A layer that lost all its ranks has a tensor without rows, or without columns: nothing is left to add.
            let tensor = |name: String| (file.f32(&name), name);
            let tensors = file.names().into_iter().map(tensor).filter(|((shape, _), _)| !shape.contains(&0));
            let tensors: Tensors = tensors.map(|((shape, values), name)| (name, matrix(&shape, &values))).collect();
            for (row, example) in rows.iter().zip(&examples) {
                assert_eq!(row.tokens, targets(example));
                let (loss, _) = gradients(&model, method, &tensors, example);
                // PEFT computed these in f32.
                assert!(relative(loss, row.loss) < 1e-6, "{name}/{folder}: {loss} for {}", row.loss);
            }
        }
    }
}

#[test]
fn curves_are_those_of_peft() {
    let (model, examples) = (Decoder::nano(), inputs().curve);
    for name in METHODS {
        let folder = format!("nano/methods/{name}");
        let (config, want): (_, Curve) =
            (config(&format!("{name}/adapter")), golden::json(&format!("{folder}/curve.json")));
        let method = method(&config);
        let mut tensors =
            tensors(&format!("{folder}/gradients"), |tensor, shape| match methods::start(name, tensor, shape) {
                Some(values) => matrix(shape, &values),
                None => untouched(&model, tensor, shape),
            });
        let mut budget = (name == "adalora").then(|| {
            let number = |key: &str| config[key].as_u64().expect("a number") as usize;
            let beta = |key: &str| config[key].as_f64().expect("a number");
            let schedule = Schedule {
                init_r: number("init_r"),
                target_r: number("target_r"),
                total_step: number("total_step"),
                tinit: number("tinit"),
                tfinal: number("tfinal"),
                delta_t: number("deltaT"),
                betas: [beta("beta1"), beta("beta2")],
            };
            (Allocator::new(schedule, &tensors), golden::json::<AdaLora>(&format!("{folder}/curve.json")))
        });
        let mut optimizer =
            AdamW::new(tensors.values().map(|x| x.data.len()).sum(), want.weight_decay, want.max_grad_norm);
        let mut worst = 0f64;
        for (step, order) in want.order.iter().enumerate() {
            let (loss, mut gradients) = gradients(&model, method, &tensors, &examples[order[0]]);
            worst = worst.max(relative(loss, want.losses[step]));
            let flat: Vec<f64> = gradients.values().flat_map(|x| x.data.iter().copied()).collect();
            let mut values: Vec<f64> = tensors.values().flat_map(|x| x.data.iter().copied()).collect();
            let norm = optimizer.step(&mut values, &flat, want.learning_rates[step]);
            assert!(relative(norm, want.grad_norms[step]) < 1e-5, "{name}, step {step}: a norm of {norm}");
            let mut values = values.into_iter();
            tensors.values_mut().for_each(|x| x.data.iter_mut().zip(&mut values).for_each(|(to, from)| *to = from));
            if let Some((allocator, want)) = &mut budget {
                let clip = (1.0 / (norm + 1e-6)).min(1.0);
                gradients.values_mut().for_each(|x| *x = x.scaled(clip));
                allocator.after(step, &mut tensors, &gradients);
                assert_eq!(allocator.budget(step, 7 * nano::LAYERS), want.budgets[step]);
            }
        }
        println!("{folder}/curve: worst {worst:.1e}");
        assert!(worst < 1e-6, "{name}: {worst:e}");
        if let Some((allocator, want)) = budget {
            let short = |(name, kept): (&String, &Vec<bool>)| (name.replace("base_model.model.", ""), kept.clone());
            assert_eq!(allocator.kept.iter().map(short).collect::<BTreeMap<_, _>>(), want.rank_pattern);
        }
        let summary = Summary::read(&format!("{folder}/curve"));
        for (tensor, value) in &tensors {
            let off = summary.rel_l2(tensor, &value.to_f32());
            assert!(off < 1e-4, "{tensor}: {off:e}");
        }
    }
}

/// A tensor of any method, where nothing is as it starts.
fn any(name: &str, rows: usize, cols: usize) -> Matrix {
    Matrix::from_f32(rows, cols, &uniform(name, rows * cols, 0.3))
}

fn insert(tensors: &mut Tensors, name: String, rows: usize, cols: usize) {
    let value = any(&name, rows, cols);
    tensors.insert(name, value);
}

fn adapter(tensors: &mut Tensors, place: &str) {
    let (c, m) = (nano::CHANNELS, 5);
    for (part, rows, cols) in [("down.weight", m, c), ("down.bias", 1, m), ("up.weight", c, m), ("up.bias", 1, c)] {
        insert(tensors, format!("{place}.adapter.{part}"), rows, cols);
    }
}

/// The methods that PEFT lacks.
fn others(model: &Decoder) -> Vec<(&'static str, Method, Tensors)> {
    let (c, kv) = (nano::CHANNELS, nano::KV_HEADS * nano::HEAD_DIM);
    let [mut bitfit, mut houlsby, mut pfeiffer, mut unipelt] = [const { Tensors::new() }; 4];
    insert(&mut bitfit, "base_model.model.model.norm.bias".into(), 1, c);
    for n in 0..nano::LAYERS {
        let layer = format!("base_model.model.model.layers.{n}");
        for module in Module::ALL {
            insert(&mut bitfit, format!("{layer}.{}.bias", module.path()), 1, model.shape(module).0);
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            insert(&mut bitfit, format!("{layer}.{norm}.bias"), 1, c);
        }
        adapter(&mut houlsby, &format!("{layer}.self_attn"));
        for tensors in [&mut houlsby, &mut pfeiffer, &mut unipelt] {
            adapter(tensors, &format!("{layer}.mlp"));
        }
        for module in [Module::QProj, Module::VProj] {
            let (place, r) = (format!("{layer}.{}", module.path()), nano::LORA_R);
            insert(&mut unipelt, format!("{place}.lora_A.weight"), r, c);
            insert(&mut unipelt, format!("{place}.lora_B.weight"), model.shape(module).0, r);
        }
        for gate in ["self_attn.gate_lora", "mlp.gate_adapter"] {
            insert(&mut unipelt, format!("{layer}.{gate}.weight"), 1, c);
            insert(&mut unipelt, format!("{layer}.{gate}.bias"), 1, 1);
        }
        insert(&mut unipelt, format!("{layer}.self_attn.prefix"), 5, 2 * kv);
        insert(&mut unipelt, format!("{layer}.self_attn.gate_prefix"), 1, 1);
    }
    let adapters = |function| Method { function, ..PLAIN };
    vec![
        ("bitfit", PLAIN, bitfit),
        ("houlsby", adapters(Function::Gelu), houlsby.clone()),
        ("houlsby", adapters(Function::Silu), houlsby.clone()),
        ("houlsby", adapters(Function::Tanh), houlsby.clone()),
        ("houlsby", adapters(Function::Relu), houlsby),
        ("pfeiffer", adapters(Function::Gelu), pfeiffer),
        ("unipelt", adapters(Function::Relu), unipelt),
        ("full", PLAIN, model.weights()),
    ]
}

#[test]
fn gradients_are_those_of_central_differences() {
    let (model, step) = (Decoder::nano(), inputs().step);
    // A short one, whose first nine tokens are no targets.
    let example = Example { input_ids: step.input_ids[..13].into(), labels: step.labels[..13].into() };
    let pefts = METHODS.map(|name| {
        let stem = format!("nano/methods/{name}/gradients");
        (name, method(&config(&format!("{name}/adapter"))), tensors(&stem, hashed))
    });
    // DoRA's gradient takes a norm for a constant that is none.
    for (what, method, tensors) in pefts.into_iter().filter(|(name, ..)| *name != "dora").chain(others(&model)) {
        let batch = batch(&example, method, &tensors, 0.2);
        let (_, gradients) = model.loss_and_gradients(method, &tensors, &batch);
        for (name, gradient) in &gradients {
            assert!(gradient.data.iter().any(|g| *g != 0.0), "{what}: {name} has no gradient");
            // Along one direction, in which every element moves.
            let direction = any(&format!("{name}.direction"), gradient.rows, gradient.cols);
            let slope = Matrix { rows: 1, cols: 1, data: vec![gradient.dot(&direction)] };
            check_gradient(&format!("{what}: {name}"), &Matrix::zeros(1, 1), &slope, 1, |by| {
                let mut tensors = tensors.clone();
                tensors.insert(name.clone(), tensors[name].plus(&direction.scaled(by.data[0])));
                model.objective(method, &tensors, &batch)
            });
        }
    }
}

#[test]
fn what_starts_as_nothing_changes_nothing() {
    let (model, step) = (Decoder::nano(), inputs().step);
    let loss = |method, tensors: &Tensors| gradients(&model, method, tensors, &step).0;
    let base = loss(PLAIN, &Tensors::new());
    for (what, method, mut tensors) in others(&model) {
        // Biases and the upper matrix of an adapter start at zero; UniPELT's prefix is never nothing.
        tensors.retain(|name, _| !name.contains("prefix"));
        for (name, value) in &mut tensors {
            if what != "full" && ["bias", "up.weight", "lora_B"].iter().any(|part| name.contains(part)) {
                value.data.fill(0.0);
            }
        }
        assert_eq!(loss(method, &tensors), base, "{what}");
    }
}
