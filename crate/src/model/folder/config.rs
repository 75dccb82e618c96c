//! `config.json` in GGUF's tongue: <https://huggingface.co/docs/transformers/main_classes/configuration>.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use serde_json::Value as Json;

use crate::format::gguf::Value;
use crate::model::architectures;
use crate::model::blueprint::{Architecture, FeedForward};
use crate::ops::{Activation, Gate};
use crate::{Error, Result};

/// What transformers calls the models of an architecture, where that is not the architecture's name.
const NAMES: [(&str, &str); 2] = [("mistral", "llama"), ("gemma3_text", "gemma3")];

/// Switches of a model that we have in one position alone.
const SWITCHES: [(&str, bool); 5] = [
    ("scale_attn_weights", true),
    ("scale_attn_by_inverse_layer_idx", false),
    ("reorder_and_upcast_attn", false),
    ("use_bidirectional_attention", false),
    ("use_sliding_window", false),
];

/// More numbers than any head has: so many divisors of frequencies may be made.
const MOST_OF_A_HEAD: usize = 4096;

/// The names of the fields, GPT-2's behind the others'.
const LAYERS: [&str; 2] = ["num_hidden_layers", "n_layer"];
const HIDDEN: [&str; 2] = ["hidden_size", "n_embd"];
const HEADS: [&str; 2] = ["num_attention_heads", "n_head"];
const CONTEXT: [&str; 2] = ["max_position_embeddings", "n_positions"];
const FEED_FORWARD: [&str; 2] = ["intermediate_size", "n_inner"];

/// The first of these fields that is there and not null.
fn field<'a>(config: &'a Json, names: &[&str]) -> &'a Json {
    names.iter().map(|name| &config[*name]).find(|value| !value.is_null()).unwrap_or(&Json::Null)
}

/// A whole number.
fn count(config: &Json, names: &[&str]) -> Option<u64> {
    field(config, names).as_u64()
}

/// Blocks of the model.
pub(super) fn layers(config: &Json) -> usize {
    count(config, &LAYERS).unwrap_or(0) as usize
}

/// Numbers of a head.
pub(super) fn head_dim(config: &Json) -> usize {
    let (hidden, heads) = (count(config, &HIDDEN).unwrap_or(0), count(config, &HEADS).unwrap_or(1).max(1));
    // A Gemma's class has heads of 256 where the file does not say.
    let is_gemma = config["model_type"].as_str().is_some_and(|kind| kind.starts_with("gemma"));
    count(config, &["head_dim"]).unwrap_or(if is_gemma { 256 } else { hidden / heads }) as usize
}

/// How positions turn pairs, of global blocks where there are others: in one place since transformers 5, in two before.
fn rotations(config: &Json) -> Json {
    let parameters = &config["rope_parameters"];
    let all = if parameters["full_attention"].is_object() { &parameters["full_attention"] } else { parameters };
    if all.is_object() {
        return all.clone();
    }
    let mut all = config["rope_scaling"].as_object().cloned().unwrap_or_default();
    all.insert("rope_theta".into(), config["rope_theta"].clone());
    all.into()
}

/// The kind of scaling among these.
fn kind_of(rotations: &Json) -> &str {
    field(rotations, &["rope_type", "type"]).as_str().unwrap_or("default")
}

/// What a GGUF file would say, under the name of its architecture.
struct Values<'a> {
    config: &'a Json,
    architecture: &'static Architecture,
    folder: &'a str,
    all: BTreeMap<String, Value>,
}

/// The architecture of a `config.json`, and what a GGUF file of the model would say.
///
/// # Errors
/// [`Error::Architecture`] for a kind of model that is not supported; [`Error::Format`] for a field that is missing, or that makes of
/// it a model that is not supported.
pub(super) fn values(config: &Json, folder: &str) -> Result<(&'static Architecture, BTreeMap<String, Value>)> {
    let found = config["model_type"].as_str().unwrap_or_default();
    let name = NAMES.iter().find(|(theirs, _)| *theirs == found).map_or(found, |(_, ours)| *ours);
    let Some(architecture) = architectures::named(name).filter(|_| config["text_config"].is_null()) else {
        let supported: Vec<&str> = architectures::ALL.iter().map(|supported| supported.name).collect();
        let parts = if config["text_config"].is_null() { "" } else { " with other parts than text" };
        return Err(Error::Architecture {
            file: format!("{folder}/config.json"),
            found: format!("{found}{parts}"),
            supported: supported.join(", "),
        });
    };
    let mut values = Values { config, architecture, folder, all: BTreeMap::new() };
    values.refuse_other_kinds()?;
    values.sizes()?;
    values.blocks()?;
    if architecture.positions.table().is_none() {
        values.rotations()?;
    }
    Ok((architecture, values.all))
}

impl Values<'_> {
    fn unsupported(&self, what: String) -> Error {
        Error::Format {
            file: format!("{}/config.json", self.folder),
            what: format!("{what}: not supported"),
            help: "use a model of one of the kinds that the README's Limits name".into(),
        }
    }

    fn set(&mut self, key: &str, value: Value) {
        self.all.insert(format!("{}.{key}", self.architecture.name), value);
    }

    fn set_count(&mut self, key: &str, count: u64) {
        self.set(key, u32::try_from(count).map_or(Value::U64(count), Value::U32));
    }

    /// Refuses what a model of this architecture may be and the decoder is not, by name.
    fn refuse_other_kinds(&self) -> Result<()> {
        let (config, name) = (self.config, self.architecture.name);
        if let Some(method) = config["quantization_config"]["quant_method"].as_str() {
            return Err(self.unsupported(format!("weights that are quantized ({method})")));
        }
        let activations: &[&str] = match self.architecture.feed_forward {
            FeedForward::Gated(Gate::Silu) => &["silu", "swish"],
            FeedForward::Gated(Gate::Gelu) | FeedForward::Plain(Activation::GeluTanh) => {
                &["gelu_pytorch_tanh", "gelu_new", "gelu_fast"]
            }
            FeedForward::Plain(_) => &[],
        };
        // Gemma's older files say gelu and mean its tanh form, which transformers takes for them.
        let is_known = |own: &&str| activations.contains(own) || (name == "gemma" && *own == "gelu");
        let activation = field(config, &["hidden_activation", "activation_function", "hidden_act"]).as_str();
        if let Some(other) = activation.filter(|own| !is_known(own)) {
            return Err(self.unsupported(format!("a {name} with {other} in its feed-forward")));
        }
        let head_dim = head_dim(config);
        if head_dim > MOST_OF_A_HEAD {
            return Err(self.unsupported(format!("heads of {head_dim}")));
        }
        if let Some(scale) = config["query_pre_attn_scalar"].as_f64().filter(|&scale| scale != head_dim as f64) {
            return Err(self.unsupported(format!("scores divided by the root of {scale} with heads of {head_dim}")));
        }
        let is_other = |(switch, ours): &&(&str, bool)| config[*switch].as_bool().is_some_and(|own| own != *ours);
        if let Some((switch, _)) = SWITCHES.iter().find(is_other) {
            return Err(self.unsupported(format!("a {name} with {switch} {}", config[*switch])));
        }
        Ok(())
    }

    fn sizes(&mut self) -> Result<()> {
        let (config, name) = (self.config, self.architecture.name);
        let own_feed_forward = count(config, &HIDDEN).filter(|_| name == "gpt2").map(|hidden| 4 * hidden);
        for (key, names, default) in [
            ("block_count", &LAYERS[..], None),
            ("context_length", &CONTEXT, None),
            ("embedding_length", &HIDDEN, None),
            ("feed_forward_length", &FEED_FORWARD, own_feed_forward),
            ("attention.head_count", &HEADS, None),
            ("attention.head_count_kv", &["num_key_value_heads"], count(config, &HEADS)),
        ] {
            let value = count(config, names).or(default).ok_or_else(|| Error::Format {
                file: format!("{}/config.json", self.folder),
                what: format!("{} is missing", names[0]),
                help: "the file is damaged, or another program's: download it again".into(),
            })?;
            self.set_count(key, value);
        }
        for key in ["attention.key_length", "attention.value_length"] {
            self.set_count(key, head_dim(config) as u64);
        }
        let layer_norm = self.architecture.layer_norm;
        let key = if layer_norm { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
        // What their classes take where the file does not say.
        let default = if matches!(name, "gpt2" | "phi3") { 1e-5 } else { 1e-6 };
        let eps = field(config, &["rms_norm_eps", "layer_norm_epsilon"]).as_f64().unwrap_or(default);
        self.set(key, Value::F32(eps as f32));
        Ok(())
    }

    /// What blocks do otherwise than a llama's: soft caps, windows, blocks that turn nothing.
    fn blocks(&mut self) -> Result<()> {
        let (config, architecture) = (self.config, self.architecture);
        for (field, default) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
            let of_class = (architecture.name == "gemma2" && config.get(field).is_none()).then_some(default);
            if let Some(cap) = config[field].as_f64().or(of_class) {
                self.set(field, Value::F32(cap as f32));
            }
        }
        // A Qwen's has no meaning without the switch beside it.
        if let Some(window) = count(config, &["sliding_window"]).filter(|_| !architecture.name.starts_with("qwen")) {
            self.set_count("attention.sliding_window", window);
        }
        // Whether each block is one of every so many, counted from 1.
        let regular = |list: &[Json], every: usize, is_one: &dyn Fn(&Json) -> bool| {
            let due = |at: usize| every > 0 && (at + 1).is_multiple_of(every);
            list.iter().enumerate().all(|(at, block)| is_one(block) == due(at))
        };
        if let Some(kinds) = config["layer_types"].as_array().filter(|_| architecture.global_every > 0) {
            let is_global = |kind: &Json| kind == "full_attention";
            let every = kinds.iter().position(is_global).map_or(0, |at| at + 1);
            if !regular(kinds, every, &is_global) {
                return Err(self.unsupported("local and global blocks in no regular order".into()));
            }
            self.set_count("attention.sliding_window_pattern", every as u64);
        } else if let Some(every) = count(config, &["sliding_window_pattern"]) {
            self.set_count("attention.sliding_window_pattern", every);
        }
        if let Some(blocks) = config["no_rope_layers"].as_array().filter(|blocks| !blocks.is_empty())
            && !regular(blocks, architecture.unturned_every, &|turns| turns == 0)
        {
            return Err(self.unsupported(format!("a {} whose blocks without rotations are others", architecture.name)));
        }
        Ok(())
    }

    fn rotations(&mut self) -> Result<()> {
        let config = self.config;
        let rotations = rotations(config);
        let default = if self.architecture.name == "gemma3" { 1e6 } else { 1e4 };
        self.set("rope.freq_base", Value::F32(rotations["rope_theta"].as_f64().unwrap_or(default) as f32));
        let of_local = config["rope_parameters"]["sliding_attention"]["rope_theta"].as_f64();
        if let Some(base) = of_local.or(config["rope_local_base_freq"].as_f64()) {
            self.set("rope.freq_base_swa", Value::F32(base as f32));
        }
        let turned = rotations["partial_rotary_factor"].as_f64().or(config["partial_rotary_factor"].as_f64());
        if let Some(turned) = turned.filter(|&turned| turned != 1.0) {
            self.set_count("rope.dimension_count", (head_dim(config) as f64 * turned) as u64);
        }
        let kind = kind_of(&rotations);
        if matches!(kind, "linear" | "yarn") {
            self.set("rope.scaling.type", Value::String(kind.into()));
            for (key, field) in [("factor", "factor"), ("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")]
            {
                if let Some(number) = rotations[field].as_f64() {
                    self.set(&format!("rope.scaling.{key}"), Value::F32(number as f32));
                }
            }
        }
        let original = count(&rotations, &["original_max_position_embeddings"])
            .or(count(config, &["original_max_position_embeddings", CONTEXT[0]]));
        if let Some(original) = original.filter(|_| matches!(kind, "yarn" | "longrope" | "su")) {
            self.set_count("rope.scaling.original_context_length", original);
        }
        match kind {
            "default" | "linear" | "llama3" => Ok(()),
            "yarn" => {
                let is_there = |field: &&&str| !rotations[**field].is_null();
                match ["attention_factor", "mscale", "mscale_all_dim"].iter().find(is_there) {
                    Some(other) => Err(self.unsupported(format!("rotary scaling (yarn with {other})"))),
                    None => Ok(()),
                }
            }
            "longrope" | "su" => {
                // As transformers finds it where the file does not say.
                let context = count(config, &CONTEXT).unwrap_or(0) as f64;
                let original = original.unwrap_or(0) as f64;
                let found = (1.0 + (context / original).max(1.0).ln() / original.ln()).sqrt();
                let factor = rotations["attention_factor"].as_f64().unwrap_or(found);
                self.set("rope.scaling.attn_factor", Value::F32(factor as f32));
                Ok(())
            }
            other => Err(self.unsupported(format!("rotary scaling ({other})"))),
        }
    }
}

/// The tensors by which a GGUF file divides the frequencies of pairs, with their names.
pub(super) fn rotary_factors(config: &Json) -> Vec<(String, Vec<f32>)> {
    let rotations = rotations(config);
    match kind_of(&rotations) {
        "longrope" | "su" => {
            let numbers = |field: String| -> Vec<f32> {
                let all = rotations[field].as_array().into_iter().flatten();
                all.filter_map(|number| number.as_f64().map(|number| number as f32)).collect()
            };
            let named = |what: &str| (format!("rope_factors_{what}.weight"), numbers(format!("{what}_factor")));
            vec![named("short"), named("long")]
        }
        "llama3" => {
            let number = |name: &str| rotations[name].as_f64().unwrap_or(1.0);
            let base = rotations["rope_theta"].as_f64().unwrap_or(1e4);
            let (factor, context) = (number("factor"), number("original_max_position_embeddings"));
            let (low, high) = (number("low_freq_factor"), number("high_freq_factor"));
            let dim = head_dim(config);
            let divisor = |pair: usize| {
                // Times that the pair turns in the context which the model was first trained for.
                let turns = context * base.powf(-2.0 * pair as f64 / dim as f64) / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 / (kept + (1.0 - kept) / factor)) as f32
            };
            vec![("rope_freqs.weight".into(), (0..dim / 2).map(divisor).collect())]
        }
        _ => Vec::new(),
    }
}
