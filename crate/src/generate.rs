//! Text generation: prefill, decode with a key-value cache, sampling.

use crate::clock::now_ms;
use crate::gpu::{Buffer, Plan};
use crate::model::{Decoder, Hooks, Inputs, Model, PREFILL};
use crate::ops::CacheLayer;
use crate::peft::Peft;
use crate::tape::{Recompute, Tape};
use crate::text::Message;
use crate::{Error, Result};

/// How to choose the next token, and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token; above, logits are divided by it and a token is drawn.
    pub temperature: f32,
    /// Draw only from the likeliest tokens that hold this share of the probability.
    pub top_p: f32,
    /// Decides the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { max_new_tokens: 128, temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// The model ended its turn.
    End,
    /// The limit on tokens, or the model's last position, was reached.
    Length,
    /// The caller asked to stop.
    Cancelled,
}

/// What was generated.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The token ids, the end token not among them.
    pub ids: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Why it ended.
    pub stop: Stop,
    /// Tokens decoded a second: prefill, which gives the first, is not counted, and 0 stands for it alone.
    pub tokens_per_second: f64,
}

/// A pass over a fixed number of rows that ends in the logits of one row.
struct Step {
    inputs: Inputs,
    row: Buffer,
    plan: Plan,
}

/// Generates with one model and one adapter, or none.
pub struct Generator<'a> {
    model: &'a Model,
    virtual_tokens: usize,
    logits: Buffer,
    prefill: Step,
    decode: Step,
    positions: usize,
}

impl<'a> Generator<'a> {
    /// Prepares for conversations of at most `positions` tokens, virtual ones included; the model's context bounds it.
    ///
    /// # Errors
    /// [`Error::Limit`] when the cache is larger than the device allows.
    pub fn new(model: &'a Model, peft: Option<&dyn Peft>, positions: usize) -> Result<Self> {
        if peft.is_some_and(|peft| peft.params().score().is_some()) {
            return Err(Error::Config {
                field: "adapter".into(),
                what: "a reward adapter scores answers, and writes none".into(),
                help: "score with it, or ask another adapter".into(),
            });
        }
        let positions = positions.min(model.config.context_length);
        let context = &model.context;
        let channels = model.config.kv_heads * model.config.head_dim;
        // The rows that fill up the last prefill pass are written behind the conversation.
        let layer = |_| CacheLayer::new(context, positions + PREFILL, channels);
        let cache: Vec<CacheLayer> = (0..model.config.layers).map(layer).collect::<Result<_>>()?;
        let logits = context.buffer("logits", model.config.vocab as u64 * 4)?;
        let step = |rows, virtual_tokens| -> Result<Step> {
            let inputs = Inputs { virtual_tokens, ..Inputs::new(context, rows)? };
            let row = context.buffer("last row", 4)?;
            let mut t = Tape::new(context);
            let peft = peft.map(|peft| peft as &dyn Hooks);
            let decoder = Decoder { model, peft, training: false, recompute: Recompute::None };
            let h = decoder.forward(&mut t, &inputs, Some(&cache));
            t.row_logits(h, decoder.head(), &row, &logits);
            let plan = t.finish(context)?;
            Ok(Step { inputs, row, plan })
        };
        let virtual_tokens = peft.map_or(0, |peft| peft.virtual_tokens());
        Ok(Self { model, virtual_tokens, prefill: step(PREFILL, true)?, decode: step(1, false)?, logits, positions })
    }

    /// The ids that a conversation starts with: rendered by the model's template, or the text alone.
    ///
    /// # Errors
    /// [`Error::Template`] when the template refuses the messages; [`Error::Format`] when there is none.
    pub fn chat_ids(model: &Model, messages: &[Message]) -> Result<Vec<u32>> {
        let template = model.template.as_ref().ok_or_else(|| Error::Format {
            file: model.file.clone(),
            what: "the model has no chat template".into(),
            help: "use an instruct model, or give the prompt raw".into(),
        })?;
        model.tokenizer.encode(&template.render(messages, true)?, true)
    }

    fn run(&self, step: &Step, ids: &[u32], first: usize) {
        let context = &self.model.context;
        let rows = step.inputs.rows;
        let mut padded = ids.to_vec();
        padded.resize(rows, 0);
        let positions: Vec<u32> = (first as u32..).take(rows).collect();
        let keys: Vec<[u32; 2]> = positions.iter().map(|&position| [0, position + 1]).collect();
        context.write(&step.inputs.ids, 0, &padded);
        context.write(&step.inputs.positions, 0, &positions);
        context.write(&step.inputs.masks.keys_of_row, 0, &keys);
        context.write(&step.row, 0, &[ids.len() as u32 - 1]);
        step.plan.run(0);
    }

    /// Runs the ids that generation starts from; returns the logits `[V]` after the last.
    pub(crate) async fn prefill(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let mut done = 0;
        for chunk in ids.chunks(PREFILL) {
            self.run(&self.prefill, chunk, done);
            done += chunk.len();
        }
        self.read_logits().await
    }

    /// Runs one more id at its position; returns the logits `[V]` after it.
    pub(crate) async fn decode(&self, id: u32, position: usize) -> Result<Vec<f32>> {
        self.run(&self.decode, &[id], position);
        self.read_logits().await
    }

    async fn read_logits(&self) -> Result<Vec<f32>> {
        self.model.context.read(&self.logits, 0, self.model.config.vocab).await
    }

    /// Continues `prompt`. `on_text` is given the text as it comes, in whole characters; it returns false to stop.
    ///
    /// # Errors
    /// [`Error::Config`] when the prompt leaves no room; [`Error::Gpu`] when the device failed.
    pub async fn generate(
        &self,
        prompt: &[u32],
        sampling: Sampling,
        mut on_text: impl FnMut(&str) -> bool,
    ) -> Result<Generated> {
        let vocab = self.model.config.vocab as u32;
        let mut ids: Vec<u32> = (vocab..).take(self.virtual_tokens).collect();
        ids.extend(prompt);
        if prompt.is_empty() || ids.len() >= self.positions {
            return Err(Error::Config {
                field: "prompt".into(),
                what: if prompt.is_empty() {
                    "it has no tokens".into()
                } else {
                    format!("it has {} tokens, and {} fit", ids.len(), self.positions - 1)
                },
                help: "write a prompt, and keep it shorter than the model's context".into(),
            });
        }
        let first = ids.len();
        let mut logits = self.prefill(&ids).await?;
        let mut random = Random(sampling.seed);
        let mut stream = self.model.tokenizer.stream();
        let mut generated = Vec::new();
        let mut text = String::new();
        let mut stop = Stop::Length;
        let started = now_ms();
        while generated.len() < sampling.max_new_tokens {
            let id = choose(&logits, sampling, &mut random);
            if self.model.tokenizer.end_ids().contains(&id) {
                stop = Stop::End;
                break;
            }
            generated.push(id);
            let piece = stream.push(id);
            text.push_str(&piece);
            if !on_text(&piece) {
                stop = Stop::Cancelled;
                break;
            }
            if ids.len() >= self.positions || generated.len() == sampling.max_new_tokens {
                break;
            }
            logits = self.decode(id, ids.len()).await?;
            ids.push(id);
        }
        let seconds = (now_ms() - started) / 1e3;
        let rest = stream.finish();
        if !rest.is_empty() {
            text.push_str(&rest);
            on_text(&rest);
        }
        let decoded = (ids.len() - first) as f64;
        let tokens_per_second = if seconds > 0.0 { decoded / seconds } else { 0.0 };
        Ok(Generated { ids: generated, text, stop, tokens_per_second })
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Uniform in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn choose(logits: &[f32], sampling: Sampling, random: &mut Random) -> u32 {
    let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    if sampling.temperature <= 0.0 {
        return best as u32;
    }
    let top = f64::from(logits[best]);
    let weight = |id: usize| ((f64::from(logits[id]) - top) / f64::from(sampling.temperature)).exp();
    let mut likely: Vec<(f64, usize)> = (0..logits.len()).map(|id| (weight(id), id)).collect();
    // Ties in order of the id, so that the draw is the same everywhere.
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let all: f64 = likely.iter().map(|(weight, _)| weight).sum();
    let mut held = 0.0;
    let enough = |(weight, _): &(f64, usize)| {
        let more = held < f64::from(sampling.top_p) * all;
        held += weight;
        more
    };
    let nucleus: Vec<(f64, usize)> = likely.into_iter().take_while(enough).collect();
    let mut draw = random.next() * nucleus.iter().map(|(weight, _)| weight).sum::<f64>();
    for &(weight, id) in &nucleus {
        draw -= weight;
        if draw < 0.0 {
            return id as u32;
        }
    }
    nucleus.last().map_or(best, |&(_, id)| id) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(temperature: f32, top_p: f32) -> Vec<u32> {
        let logits = [0.0, 2.0, 1.0, -1.0];
        let sampling = Sampling { temperature, top_p, ..Default::default() };
        let mut random = Random(7);
        (0..2000).map(|_| choose(&logits, sampling, &mut random)).collect()
    }

    #[test]
    fn samples_the_softmax_within_the_nucleus() {
        assert!(draws(0.0, 1.0).iter().all(|&id| id == 1));
        // exp(2), exp(1), exp(0), exp(-1) over their sum: 0.644, 0.237, 0.087, 0.032.
        let all = draws(1.0, 1.0);
        let share = |draws: &[u32], id| draws.iter().filter(|&&other| other == id).count() as f64 / 2000.0;
        assert!((share(&all, 1) - 0.644).abs() < 0.04 && (share(&all, 3) - 0.032).abs() < 0.015);
        let nucleus = draws(1.0, 0.7);
        assert_eq!((share(&nucleus, 0), share(&nucleus, 3)), (0.0, 0.0));
        assert!((share(&nucleus, 2) - 0.269).abs() < 0.04);
    }
}
