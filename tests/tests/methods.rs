//! Every method that PEFT has, against PEFT on the nano model: the gradients of a step, a loss curve, and a folder that
//! PEFT wrote.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::model::Model;
use tunesmith::peft::{self, NamedParam, Peft, io};
use tunesmith::train::config::{Method, RunConfig};
use tunesmith::train::evaluate;
use tunesmith_tests::golden;
use tunesmith_tests::golden::methods::{hashed, start};
use tunesmith_tests::{models, parity};

/// A method with its settings.
struct Row {
    /// The fixtures' folder; empty for what PEFT does not have.
    name: &'static str,
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
        name: "rslora",
        fields: &[("method", "rslora"), ("r", "4"), ("lora_alpha", "8")],
        count: L * 4 * (2 * C + 2 * (C + KV) + 2 * C + 3 * (C + F)),
    },
    Row { name: "ia3", fields: &[("method", "ia3")], count: L * (2 * KV + F) },
    Row { name: "ln_tuning", fields: &[("method", "ln-tuning")], count: L * 2 * C + C },
    Row { name: "", fields: &[("method", "bitfit")], count: L * (2 * C + 2 * KV + 2 * F + C + 2 * C) + C },
    Row {
        name: "p_tuning_mlp",
        fields: &[("method", "p-tuning"), ("num_virtual_tokens", "5"), ("encoder_hidden_size", "24")],
        count: 5 * C + 24 * (C + 1) + 24 * (24 + 1) + C * (24 + 1),
    },
    Row {
        name: "p_tuning_lstm",
        fields: &[
            ("method", "p-tuning"),
            ("num_virtual_tokens", "5"),
            ("encoder_hidden_size", "24"),
            ("encoder_reparameterization_type", "LSTM"),
        ],
        count: 5 * C + 2 * 96 * (C + 24 + 2) + 2 * 96 * (48 + 24 + 2) + 48 * (48 + 1) + C * (48 + 1),
    },
    Row {
        name: "prefix_projection",
        fields: &[("method", "prefix"), ("num_virtual_tokens", "5"), ("encoder_hidden_size", "24")],
        count: 5 * KV + 24 * (KV + 1) + L * 2 * KV * (24 + 1),
    },
    Row { name: "prefix", fields: &[("method", "p-tuning-v2"), ("num_virtual_tokens", "5")], count: 5 * L * 2 * KV },
    Row { name: "", fields: &[("method", "prompt"), ("num_virtual_tokens", "5")], count: 5 * C },
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

fn with_fixtures() -> impl Iterator<Item = &'static Row> {
    METHODS.iter().filter(|row| !row.name.is_empty())
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
    for Row { name, fields, .. } in with_fixtures() {
        let (adapter, _) = adapter(&model, fields, &|tensor| Some(hashed(&tensor.name, &tensor.shape)));
        parity::gradients(&model, adapter.as_ref(), &parity::inputs("nano"), &format!("nano/methods/{name}/gradients"));
    }
}

#[test]
fn curves() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    for Row { name, fields, .. } in with_fixtures() {
        let (adapter, config) = adapter(&model, fields, &|tensor| start(name, &tensor.name, &tensor.shape));
        let stem = format!("nano/methods/{name}/curve");
        parity::curve(&model, &adapter, &config, &parity::inputs("nano"), &stem, 20, 1e-4);
    }
}

#[test]
fn folders() {
    #[derive(serde::Deserialize)]
    struct Expected {
        adapter: Vec<Loss>,
    }
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
    for Row { name, .. } in with_fixtures() {
        let expected: Expected = golden::json(&format!("nano/methods/{name}/expected.json"));
        let file = |file: &str| std::fs::read(golden::path(&format!("nano/methods/{name}/adapter/{file}"))).unwrap();
        let adapter = block_on(io::load(&model, name, &file(io::CONFIG), &file(io::TENSORS))).unwrap();
        let got = block_on(evaluate(&model, Some(adapter.as_ref()), &rows)).unwrap();
        for (got, want) in got.iter().zip(&expected.adapter) {
            assert_eq!(got.tokens, want.tokens, "{name}");
            assert!((got.loss - want.loss).abs() <= 1e-4 * want.loss, "{name}: {} for {}", got.loss, want.loss);
        }
        assert_eq!(got.len(), expected.adapter.len());
    }
}
