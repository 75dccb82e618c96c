//! Prompt tuning: trained embeddings before the text (Lester et al. 2021, arXiv:2104.08691).

use serde_json::{Map, Value, json};

use super::parameters::Spec;
use super::traits::ENCODED;
use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training};
use crate::model::random;
use crate::model::{Hooks, Model, Module};
use crate::settings::config::{PromptTuningInit, RunConfig};
use crate::tape::{Tape, Var};
use crate::{Error, Result};

/// n virtual tokens.
pub struct Prompt {
    params: Parameters,
    heads: (usize, usize, usize),
}

impl Tuning for Prompt {
    const PEFT_TYPE: &'static str = "PROMPT_TUNING";
    const FIELDS: &'static [&'static str] = &["num_virtual_tokens"];

    fn read(_: &Map<String, Value>, run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        run.insert("prompt_tuning_init".into(), "RANDOM".into());
        Ok(())
    }

    /// Virtual tokens that start as the embeddings of a text, repeated or cut to their number, as those of tokens drawn
    /// from the vocabulary, or as random rows of the same size as the vocabulary's embeddings.
    ///
    /// # Errors
    /// [`Error::Config`] when the text has no tokens; [`Error::Gpu`] when the device failed.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let (n, channels) = (config.num_virtual_tokens as usize, model.config.hidden);
        let values = match config.prompt_tuning_init {
            PromptTuningInit::Text => {
                let ids = model.tokenizer.encode(&config.prompt_tuning_init_text, false)?;
                if ids.is_empty() {
                    return Err(Error::Config {
                        field: "prompt_tuning_init_text".into(),
                        what: "the text has no tokens".into(),
                        help: "write what the model is to do, or set prompt_tuning_init to RANDOM".into(),
                    });
                }
                let ids: Vec<u32> = ids.into_iter().cycle().take(n).collect();
                model.embeddings(&ids).await?
            }
            PromptTuningInit::SampleVocab => {
                let vocab = model.config.vocab as u32;
                let draw = |x: f32| ((x + 1.0) / 2.0 * vocab as f32) as u32;
                let ids: Vec<u32> =
                    random(config.seed, ENCODED).map(draw).map(|id| id.min(vocab - 1)).take(n).collect();
                model.embeddings(&ids).await?
            }
            PromptTuningInit::Random => {
                // A uniform distribution with the root mean square of some of the vocabulary's embeddings.
                let sample: Vec<u32> =
                    (0..256_u32).map(|i| (i as u64 * model.config.vocab as u64 / 256) as u32).collect();
                let rows = model.embeddings(&sample).await?;
                let square = rows.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / rows.len() as f64;
                let bound = f64::sqrt(3.0 * square) as f32;
                random(config.seed, ENCODED).map(|x| x * bound).take(n * channels).collect()
            }
        };
        let params = super::score::parameters(model, config, vec![Spec::new(ENCODED, &[n, channels], values)])?;
        Ok(Self { params, heads: (model.config.layers, model.config.heads, channels) })
    }
}

impl AdapterFile for Prompt {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        let (layers, heads, channels) = self.heads;
        let n = self.params.tensors[0].shape[0];
        let config = json!({
            "peft_type": Self::PEFT_TYPE,
            "num_virtual_tokens": n,
            "token_dim": channels,
            "num_transformer_submodules": 1,
            "num_attention_heads": heads,
            "num_layers": layers,
            // How it started is in run.json; PEFT would want a tokenizer to repeat it.
            "prompt_tuning_init": "RANDOM",
        });
        match config {
            Value::Object(map) => map,
            _ => unreachable!("an object literal"),
        }
    }
}

impl Hooks for Prompt {
    fn virtual_tokens(&self) -> usize {
        self.params.tensors[0].shape[0]
    }

    fn prompt(&self, t: &mut Tape) -> Option<Var> {
        Some(t.parameter(&self.params.tensors[0].weight))
    }
}

impl Mergeable for Prompt {
    fn scales(&self, _: &str) -> Result<bool, &'static str> {
        Err("virtual tokens are there or not")
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("virtual tokens are no weights of the model")
    }
}

impl Training for Prompt {}
