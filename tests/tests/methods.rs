//! Every method that PEFT has, against PEFT on the nano model: the gradients of a step, a loss curve, and a folder that
//! PEFT wrote.

use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use tunesmith::model::Model;
use tunesmith::peft::{self, NamedParam, Peft, io};
use tunesmith::settings::config::{Method, NonLinearity, RunConfig};
use tunesmith::train::{Optimizer, evaluate};
use tunesmith_tests::golden::methods::{hashed, start};
use tunesmith_tests::golden::{self, hash, nano};
use tunesmith_tests::reference::{self, AdamW, Batch, Decoder, Function, Matrix};
use tunesmith_tests::{models, parity};

/// A method with its settings.
struct Row {
    /// The folder of PEFT's fixtures; where PEFT does not have the method, the f64 reference stands for it.
    name: Option<&'static str>,
    fields: &'static [(&'static str, &'static str)],
    /// Parameters on the nano model.
    count: usize,
}

/// Blocks, and outputs of the nano model's layers.
const L: usize = 2;
const C: usize = 48;
const F: usize = 96;
const KV: usize = 16;

const METHODS: &[Row] = &[
    Row {
        name: Some("lora_patterns"),
        fields: &[
            ("method", "lora"),
            ("r", "4"),
            ("lora_alpha", "8"),
            ("rank_pattern", r"layers.1.self_attn.q_proj=3,q_proj=2,layers\.0\.mlp\.(up|down)_proj=6"),
            ("alpha_pattern", r#"{"v_proj": 3, "gate_proj": 16}"#),
        ],
        count: 4 * L * (2 * (C + KV) + 2 * C + (C + F)) + (2 + 3) * 2 * C + (6 + 4) * 2 * (C + F),
    },
    Row {
        name: Some("lora_saved"),
        fields: &[
            ("method", "lora"),
            ("r", "4"),
            ("lora_alpha", "8"),
            ("layers_to_transform", "1"),
            ("modules_to_save", "lm_head,embed_tokens,norm"),
        ],
        count: 4 * (2 * C + 2 * (C + KV) + 2 * C + 3 * (C + F)) + 2 * 512 * C + (2 * L + 1) * C,
    },
    Row {
        name: Some("rslora"),
        fields: &[("method", "rslora"), ("r", "4"), ("lora_alpha", "8")],
        count: L * 4 * (2 * C + 2 * (C + KV) + 2 * C + 3 * (C + F)),
    },
    Row {
        name: Some("dora"),
        fields: &[("method", "dora"), ("r", "4"), ("lora_alpha", "8")],
        count: L * (4 * (2 * C + 2 * (C + KV) + 2 * C + 3 * (C + F)) + 3 * C + 2 * KV + 2 * F),
    },
    Row {
        name: None,
        fields: &[("method", "full")],
        count: 512 * C + L * (2 * C * C + 2 * C * KV + 3 * C * F + 2 * C) + C,
    },
    Row {
        name: Some("adalora"),
        fields: &[
            ("method", "adalora"),
            ("init_r", "6"),
            ("target_r", "3"),
            ("lora_alpha", "8"),
            ("total_step", "20"),
            ("tinit", "4"),
            ("tfinal", "6"),
            ("delta_t", "2"),
        ],
        count: L * (6 * (2 * C + 2 * (C + KV) + 2 * C + 3 * (C + F)) + 7 * 6),
    },
    Row {
        name: None,
        fields: &[("method", "houlsby"), ("bottleneck_size", "7"), ("non_linearity", "gelu")],
        count: L * 2 * (7 * (C + 1) + C * (7 + 1)),
    },
    Row {
        name: None,
        fields: &[("method", "houlsby"), ("bottleneck_size", "5"), ("adapter_placement", "pfeiffer")],
        count: L * (5 * (C + 1) + C * (5 + 1)),
    },
    Row {
        name: None,
        fields: &[
            ("method", "unipelt"),
            ("r", "4"),
            ("lora_alpha", "8"),
            ("num_virtual_tokens", "5"),
            ("bottleneck_size", "6"),
            ("non_linearity", "tanh"),
        ],
        count: L * (4 * (2 * C + C + KV) + (C + 1) + 5 * 2 * KV + 1 + 6 * (C + 1) + C * (6 + 1) + (C + 1)),
    },
    Row { name: Some("ia3"), fields: &[("method", "ia3")], count: L * (2 * KV + F) },
    Row { name: Some("ln_tuning"), fields: &[("method", "ln-tuning")], count: L * 2 * C + C },
    Row { name: None, fields: &[("method", "bitfit")], count: L * (2 * C + 2 * KV + 2 * F + C + 2 * C) + C },
    Row {
        name: Some("p_tuning_mlp"),
        fields: &[("method", "p-tuning"), ("num_virtual_tokens", "5"), ("encoder_hidden_size", "24")],
        count: 5 * C + 24 * (C + 1) + 24 * (24 + 1) + C * (24 + 1),
    },
    Row {
        name: Some("p_tuning_lstm"),
        fields: &[
            ("method", "p-tuning"),
            ("num_virtual_tokens", "5"),
            ("encoder_hidden_size", "24"),
            ("encoder_reparameterization_type", "LSTM"),
        ],
        count: 5 * C + 2 * 96 * (C + 24 + 2) + 2 * 96 * (48 + 24 + 2) + 48 * (48 + 1) + C * (48 + 1),
    },
    Row {
        name: Some("prefix_projection"),
        fields: &[("method", "prefix"), ("num_virtual_tokens", "5"), ("encoder_hidden_size", "24")],
        count: 5 * KV + 24 * (KV + 1) + L * 2 * KV * (24 + 1),
    },
    Row {
        name: Some("prefix"),
        fields: &[("method", "p-tuning-v2"), ("num_virtual_tokens", "5")],
        count: 5 * L * 2 * KV,
    },
    Row { name: None, fields: &[("method", "prompt"), ("num_virtual_tokens", "5")], count: 5 * C },
];

type Start<'a> = &'a dyn Fn(&NamedParam) -> Option<Vec<f32>>;

/// An adapter whose tensors are replaced where `start` says so.
fn adapter(model: &Model, fields: &[(&str, &str)], start: Start) -> (Rc<dyn Peft>, RunConfig) {
    let mut config = RunConfig::from_json("{}").unwrap();
    fields.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    config.validate().unwrap();
    let adapter = block_on(peft::create(model, &config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        if let Some(values) = start(tensor) {
            adapter.params().write(index, &values);
        }
    }
    (adapter.into(), config)
}

fn with_fixtures() -> impl Iterator<Item = (&'static str, &'static [(&'static str, &'static str)])> {
    METHODS.iter().filter_map(|row| row.name.map(|name| (name, row.fields)))
}

#[test]
fn parameters_are_counted_by_the_formula() {
    let model = models::load(&models::context(), "nano");
    for Row { fields, count, .. } in METHODS {
        assert_eq!(adapter(&model, fields, &|_| None).0.params().count(), *count, "{fields:?}");
    }
    let missing = Method::ALL.iter().find(|method| METHODS.iter().all(|row| !row.fields[0].1.ends_with(method.name())));
    assert_eq!(missing, None, "every method has a row");
}

#[test]
fn gradients() {
    let model = models::load(&models::context(), "nano");
    for (name, fields) in with_fixtures() {
        let (adapter, _) = adapter(&model, fields, &|tensor| Some(hashed(&tensor.name, &tensor.shape)));
        parity::gradients(&model, adapter.as_ref(), &parity::inputs("nano"), &format!("nano/methods/{name}/gradients"));
    }
}

#[test]
fn gradients_of_what_peft_lacks() {
    let model = models::load(&models::context(), "nano");
    let reference = Decoder::nano();
    let example = parity::inputs("nano").step;
    let targets = example.labels.iter().skip(1).filter(|&&label| label >= 0).count();
    for Row { fields, .. } in METHODS.iter().filter(|row| row.name.is_none()) {
        let value = |tensor: &NamedParam| Some(hash::uniform(&tensor.name, tensor.count(), 0.3));
        let (adapter, config) = adapter(&model, fields, &value);
        let method = reference::Method {
            scale: config.lora_alpha / f64::from(config.r),
            orthogonality: 0.0,
            function: match config.non_linearity {
                NonLinearity::Relu => Function::Relu,
                NonLinearity::Gelu => Function::Gelu,
                NonLinearity::Silu => Function::Silu,
                NonLinearity::Tanh => Function::Tanh,
            },
            prefix: false,
        };
        let tensors = adapter.params().tensors.iter();
        let tensors = tensors.map(|tensor| {
            let cols = tensor.shape[tensor.shape.len() - 1];
            let values = hash::uniform(&tensor.name, tensor.count(), 0.3);
            (tensor.name.clone(), Matrix::from_f32(tensor.count() / cols, cols, &values))
        });
        let prompt = if config.method == Method::Prompt { adapter.virtual_tokens() } else { 0 };
        let weight = 1.0 / targets as f64;
        let batch = Batch::example(&example.input_ids, &example.labels, prompt, nano::VOCAB, weight);
        let (want_loss, want) = reference.loss_and_gradients(method, &tensors.collect(), &batch);
        let (loss, grads) = parity::step(&model, adapter.as_ref(), &example);
        assert!((loss - want_loss).abs() <= 1e-5 * want_loss, "{fields:?}: a loss of {loss} for {want_loss}");
        let mut worst = (0.0, "");
        for (tensor, got) in adapter.params().tensors.iter().zip(&grads) {
            let distance = golden::rel_l2(got, &want[&tensor.name].to_f32());
            worst = if distance > worst.0 { (distance, tensor.name.as_str()) } else { worst };
        }
        println!("{fields:?}: {} tensors, rel-L2 at most {:.2e} at {}", grads.len(), worst.0, worst.1);
        assert!(worst.0 <= 1e-4, "{fields:?}: rel-L2 {:.2e} at {}", worst.0, worst.1);
    }
}

#[test]
fn curves() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    for (name, fields) in with_fixtures() {
        let (adapter, config) = adapter(&model, fields, &|tensor| start(name, &tensor.name, &tensor.shape));
        let stem = format!("nano/methods/{name}/curve");
        // A rank that goes a step earlier or later moves AdaLoRA's loss a little more.
        let tolerance = if name == "adalora" { 1e-3 } else { 1e-4 };
        parity::curve(&model, &adapter, &config, &parity::inputs("nano"), &stem, 20, tolerance);
    }
}

#[test]
fn weight_decay_spares_what_transformers_spares() {
    const DECAY: f64 = 0.5;
    const RATE: f64 = 0.1;
    let model = models::load(&models::context(), "nano");
    let spared: BTreeMap<String, Vec<String>> = golden::json("nano/methods/spared.json");
    let (mut kinds, mut worst) = ([0, 0], 0f64);
    for Row { name, fields, .. } in METHODS {
        let value = |tensor: &NamedParam| hash::uniform(&tensor.name, tensor.count(), 0.3);
        let gradient =
            |tensor: &NamedParam| hash::uniform(&format!("gradient of {}", tensor.name), tensor.count(), 1.0);
        let (adapter, mut config) = adapter(&model, fields, &|tensor| Some(value(tensor)));
        config.weight_decay = DECAY;
        let params = adapter.params();
        for (index, tensor) in params.tensors.iter().enumerate() {
            params.write_to(&params.grads, index, &gradient(tensor));
        }
        let mut optimizer = Optimizer::new(&model.context, params, &config).unwrap();
        let (_, report) = optimizer.step(RATE, &model.context.buffer("loss", 4).unwrap());
        let norm = f64::from(block_on(optimizer.outcome(report)).unwrap().grad_norm);
        for (tensor, got) in params.tensors.iter().zip(&block_on(params.read()).unwrap()) {
            let decays = match name {
                Some(name) => !spared[*name].contains(&tensor.name),
                None => !tensor.name.ends_with("bias") && !tensor.name.ends_with("norm.weight"),
            };
            kinds[usize::from(decays)] += 1;
            // The norm is that of all tensors: here each is clipped by itself, to as much.
            let clip = 1.0 / (norm + 1e-6);
            let gradients: Vec<f64> = gradient(tensor).iter().map(|&g| f64::from(g) * clip).collect();
            let mut want: Vec<f64> = value(tensor).iter().map(|&v| f64::from(v)).collect();
            AdamW::new(want.len(), if decays { DECAY } else { 0.0 }, 0.0).step(&mut want, &gradients, RATE);
            let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
            let off = golden::rel_l2(got, &want);
            assert!(off <= 1e-5, "{fields:?}: {} is off by {off:.1e}, and decays: {decays}", tensor.name);
            worst = worst.max(off);
        }
    }
    println!("{kinds:?} tensors, rel-L2 at most {worst:.1e}");
    assert!(kinds.iter().all(|&count| count > 0));
}

#[test]
fn folders() {
    #[derive(serde::Deserialize)]
    struct Loss {
        loss: f64,
        tokens: usize,
    }
    let model = models::load(&models::context(), "nano");
    let text = std::fs::read_to_string(golden::path("nano/peft/examples.jsonl")).unwrap();
    let import = tunesmith::data::import::import_jsonl("examples.jsonl", &text);
    let config = RunConfig::from_json("{}").unwrap();
    let rows = tunesmith::train::prepare(&model, &config, "examples.jsonl", &import.examples).unwrap();
    for (name, _) in with_fixtures() {
        // AdaLoRA has a second folder, of an adapter that has lost ranks.
        let expected: BTreeMap<String, Vec<Loss>> = golden::json(&format!("nano/methods/{name}/expected.json"));
        for (folder, expected) in expected {
            let file =
                |file: &str| std::fs::read(golden::path(&format!("nano/methods/{name}/{folder}/{file}"))).unwrap();
            let load = |config: &[u8], tensors: &[u8]| {
                let adapter = block_on(io::load(&model, name, config, tensors)).unwrap();
                let losses = block_on(evaluate(&model, Some(adapter.as_ref()), &rows)).unwrap();
                (adapter, losses)
            };
            let (adapter, got) = load(&file(io::CONFIG), &file(io::TENSORS));
            for (got, want) in got.iter().zip(&expected) {
                assert_eq!(got.tokens, want.tokens, "{name}/{folder}");
                let off = (got.loss - want.loss).abs();
                assert!(off <= 1e-4 * want.loss, "{name}/{folder}: {} for {}", got.loss, want.loss);
            }
            assert_eq!(got.len(), expected.len());
            let saved = block_on(io::save(adapter.as_ref(), &model, None)).unwrap();
            assert_eq!(load(&saved[0].bytes, &saved[1].bytes).1, got, "{name}/{folder}: saved and loaded again");
        }
    }
}

#[test]
fn settings_of_single_layers_start_as_nothing_too() {
    let model = models::load(&models::context(), "nano");
    let rows: Vec<_> = parity::inputs("nano").curve.iter().map(parity::rendered).collect();
    let fields = [
        ("method", "dora"),
        // An odd rank, so that neighbours among the parameters do not start where bindings may.
        ("r", "3"),
        ("rank_pattern", "q_proj=5"),
        ("alpha_pattern", "up_proj=3"),
        ("modules_to_save", "lm_head,embed_tokens,norm"),
    ];
    let (adapter, _) = adapter(&model, &fields, &|_| None);
    let base = block_on(evaluate(&model, None, &rows)).unwrap();
    assert_eq!(block_on(evaluate(&model, Some(adapter.as_ref()), &rows)).unwrap(), base);
}

#[test]
fn settings_of_single_layers_that_do_nothing_are_errors() {
    let model = models::load(&models::context(), "nano");
    for (method, field, value, words) in [
        ("lora", "layers_to_transform", "0,2", "there is no block 2"),
        ("lora", "rank_pattern", "q_proj=2,q_porj=4", "\"q_porj\" fits no layer"),
        ("lora", "alpha_pattern", "lm_head=2", "\"lm_head\" fits no layer"),
        ("lora", "rank_pattern", "v_proj=0", "model.layers.0.self_attn.v_proj has rank 0"),
        ("lora", "modules_to_save", "lm_head,q_proj", "\"q_proj\" is the end of no path"),
        ("adalora", "rank_pattern", "v_proj=13", "has rank 13, and init_r is 12"),
        ("adalora", "rank_pattern", ".*=0", "every layer has rank 0"),
    ] {
        let mut config = RunConfig::from_json("{}").unwrap();
        [("method", method), (field, value)].iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let error = block_on(peft::create(&model, &config)).err().unwrap_or_else(|| panic!("{field} {value}"));
        assert!(error.to_string().starts_with(&format!("{field}: ")) && error.to_string().contains(words), "{error}");
    }
}
