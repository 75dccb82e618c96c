//! P-tuning: virtual tokens that a small network makes (Liu et al. 2021, arXiv:2103.10385). The network is for training:
//! what it makes in the end is what the file holds.

use serde_json::{Map, Value, json};

use super::dense::{dense, dense_specs};
use super::parameters::Spec;
use super::traits::ENCODED;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Hooks, Model, Module, Order};
use crate::ops::Activation;
use crate::settings::config::{Encoder, RunConfig};
use crate::tape::{Tape, Var};

/// n virtual tokens and their network.
pub struct PTuning {
    params: Parameters,
    encoder: Encoder,
    /// Layers of the LSTM.
    layers: usize,
    hidden: usize,
    tokens: usize,
    model: (usize, usize, usize),
}

/// Both directions of an LSTM's layer, as their parameters' names end.
const DIRECTIONS: [&str; 2] = ["", "_reverse"];

impl Tuning for PTuning {
    const PEFT_TYPE: &'static str = "P_TUNING";
    const FIELDS: &'static [&'static str] = &["num_virtual_tokens"];

    /// A network as PyTorch starts it.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let (tokens, channels) = (config.num_virtual_tokens as usize, model.config.hidden);
        let (hidden, layers) = (config.encoder_hidden_size as usize, config.encoder_num_layers as usize);
        let seed = config.seed;
        let tensor = |name: &str, shape: &[usize], bound| Spec::uniform(seed, name, shape, bound);
        let encoder = config.encoder_reparameterization_type;
        // As far from zero as a normal distribution.
        let tokens_of = |name: &str| tensor(name, &[tokens, channels], f32::sqrt(3.0));
        let mut specs = Vec::new();
        match encoder {
            Encoder::None => specs.push(tokens_of(ENCODED)),
            Encoder::Mlp => {
                specs.push(tokens_of("embedding.weight"));
                for (part, rows, cols) in [(0, hidden, channels), (2, hidden, hidden), (4, channels, hidden)] {
                    specs.extend(dense_specs(seed, &format!("mlp_head.{part}"), rows, cols, None));
                }
            }
            Encoder::Lstm => {
                specs.push(tokens_of("embedding.weight"));
                let bound = 1.0 / (hidden as f32).sqrt();
                for layer in 0..layers {
                    let input = if layer == 0 { channels } else { 2 * hidden };
                    for end in DIRECTIONS {
                        let name = |what: &str| format!("lstm_head.{what}_l{layer}{end}");
                        specs.push(tensor(&name("weight_ih"), &[4 * hidden, input], bound));
                        specs.push(tensor(&name("weight_hh"), &[4 * hidden, hidden], bound));
                        specs.push(tensor(&name("bias_ih"), &[4 * hidden], bound));
                        specs.push(tensor(&name("bias_hh"), &[4 * hidden], bound));
                    }
                }
                for (part, rows) in [(0, 2 * hidden), (2, channels)] {
                    specs.extend(dense_specs(seed, &format!("mlp_head.{part}"), rows, 2 * hidden, None));
                }
            }
        }
        let params = super::score::parameters(model, config, specs)?;
        let model = (model.config.layers, model.config.heads, channels);
        Ok(Self { params, encoder, layers, hidden, tokens, model })
    }

    fn read(_: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        run.insert("encoder_reparameterization_type".into(), Encoder::None.name().into());
        Ok(())
    }
}

impl PTuning {
    /// An LSTM in both directions, layer on layer.
    fn lstm(&self, t: &mut Tape, mut x: Var) -> Var {
        for layer in 0..self.layers {
            let [forward, backward] = DIRECTIONS.map(|end| {
                let weight = |what: &str| self.params.weight(&format!("lstm_head.{what}_l{layer}{end}"));
                let gates = t.linear(x, weight("weight_ih"));
                let gates = t.bias(gates, 0, weight("bias_ih"));
                let gates = t.bias(gates, 0, weight("bias_hh"));
                t.lstm(gates, weight("weight_hh"), !end.is_empty())
            });
            x = t.beside(forward, backward);
        }
        x
    }
}

impl AdapterFile for PTuning {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let (layers, heads, channels) = self.model;
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("num_virtual_tokens".into(), json!(self.tokens)),
            ("token_dim".into(), json!(channels)),
            ("num_transformer_submodules".into(), json!(1)),
            ("num_attention_heads".into(), json!(heads)),
            ("num_layers".into(), json!(layers)),
            // PEFT knows no other word for an adapter whose network is gone.
            ("encoder_reparameterization_type".into(), json!(Encoder::Mlp.name())),
            ("encoder_hidden_size".into(), json!(self.hidden)),
        ])
    }

    fn encoded(&self, t: &mut Tape) -> Option<(Var, Option<Order>)> {
        if self.encoder == Encoder::None { None } else { self.prompt(t).map(|prompt| (prompt, None)) }
    }
}

impl Hooks for PTuning {
    fn virtual_tokens(&self) -> usize {
        self.tokens
    }

    fn prompt(&self, t: &mut Tape) -> Option<Var> {
        let mut x = t.parameter(&self.params.tensors[0].weight);
        let parts: &[usize] = match self.encoder {
            Encoder::None => return Some(x),
            Encoder::Mlp => &[0, 2, 4],
            Encoder::Lstm => {
                x = self.lstm(t, x);
                &[0, 2]
            }
        };
        for &part in parts {
            if part > 0 {
                x = t.activation(x, Activation::Relu);
            }
            x = dense(t, &self.params, &format!("mlp_head.{part}"), x);
        }
        Some(x)
    }
}

impl Mergeable for PTuning {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Err("virtual tokens are there or not")
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("virtual tokens are no weights of the model")
    }
}

impl Training for PTuning {}
