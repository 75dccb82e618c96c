//! Prefix tuning (Li and Liang 2021, arXiv:2101.00190): trained keys and values of virtual tokens in every block. Without
//! the network that makes them it is P-tuning v2 (Liu et al. 2021, arXiv:2110.07602).

use serde_json::{Map, Value, json};

use super::dense::{dense, dense_specs};
use super::parameters::Spec;
use super::traits::ENCODED;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::Result;
use crate::model::{Hooks, Model, Module, Order};
use crate::ops::Activation;
use crate::settings::config::{Method, RunConfig};
use crate::tape::{Tape, Var};

/// Keys and values of n virtual tokens.
pub struct Prefix {
    params: Parameters,
    tokens: usize,
    layers: usize,
    kv_heads: usize,
    /// K D: columns of the keys of a block, and of its values.
    width: usize,
    /// Width of the network, where there is one.
    hidden: Option<usize>,
    /// How all keys and values lie on the device.
    order: Order,
}

impl Tuning for Prefix {
    const PEFT_TYPE: &'static str = "PREFIX_TUNING";
    const FIELDS: &'static [&'static str] = &["num_virtual_tokens"];

    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let (tokens, layers) = (config.num_virtual_tokens as usize, model.config.layers);
        let (kv_heads, head) = (model.config.kv_heads, model.config.head_rows());
        let width = kv_heads * head.dim;
        let all = 2 * layers * width;
        let order = |columns| Order::keys_and_values(columns, layers, width, head);
        let projected = config.method == Method::Prefix && config.prefix_projection;
        let hidden = projected.then_some(config.encoder_hidden_size as usize);
        let random = |name: &str, cols: usize, bound| Spec::uniform(config.seed, name, &[tokens, cols], bound);
        let specs = match hidden {
            Some(hidden) => {
                let mut specs = vec![random("embedding.weight", width, f32::sqrt(3.0))];
                specs.extend(dense_specs(config.seed, "transform.0", hidden, width, None));
                specs.extend(dense_specs(config.seed, "transform.2", all, hidden, Some(&order(false))));
                specs
            }
            // Small: values near zero disturb the model least.
            None => vec![Spec { order: Some(order(true)), ..random(ENCODED, all, 0.1) }],
        };
        let params = super::score::parameters(model, config, specs)?;
        Ok(Self { params, tokens, layers, kv_heads, width, hidden, order: order(true) })
    }

    fn read(_: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        run.insert("prefix_projection".into(), false.into());
        Ok(())
    }
}

impl Prefix {
    /// Keys and values of every block side by side, `[n, L 2 K D]`.
    fn all(&self, t: &mut Tape) -> Var {
        let x = t.parameter(&self.params.tensors[0].weight);
        if self.hidden.is_none() {
            return x;
        }
        let x = dense(t, &self.params, "transform.0", x);
        let x = t.activation(x, Activation::Tanh);
        dense(t, &self.params, "transform.2", x)
    }
}

impl AdapterFile for Prefix {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("num_virtual_tokens".into(), json!(self.tokens)),
            ("token_dim".into(), json!(self.width)),
            ("num_transformer_submodules".into(), json!(1)),
            ("num_attention_heads".into(), json!(self.kv_heads)),
            ("num_layers".into(), json!(self.layers)),
            ("prefix_projection".into(), json!(self.hidden.is_some())),
        ]);
        if let Some(hidden) = self.hidden {
            config.insert("encoder_hidden_size".into(), json!(hidden));
        }
        config
    }

    fn encoded(&self, t: &mut Tape) -> Option<(Var, Option<Order>)> {
        self.hidden.is_some().then(|| (self.all(t), Some(self.order.clone())))
    }
}

impl Hooks for Prefix {
    fn virtual_tokens(&self) -> usize {
        self.tokens
    }

    fn prefixes(&self, t: &mut Tape) -> Vec<Var> {
        let all = self.all(t);
        (0..self.layers).map(|layer| t.columns(all, layer * 2 * self.width, 2 * self.width)).collect()
    }
}

impl Mergeable for Prefix {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Err("virtual tokens are there or not")
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("virtual tokens are no weights of the model")
    }
}

impl Training for Prefix {}
