//! Text generation: prefill, decode of several sequences at once with a key-value cache, sampling.
//!
//! Each sequence has a slot: a stretch of the cache's rows. One pass decodes a token of every slot; a sequence that has
//! ended gives its slot to the next prompt.

mod sampling;

use std::collections::HashMap;
use std::ops::Deref;

use crate::clock::now_ms;
use crate::gpu::{Buffer, KernelTime, Plan};
use crate::model::{Cache, Decoder, Hooks, Inputs, Model, PREFILL};
use crate::ops::{CacheLayer, Choice, Chosen};
use crate::peft::Peft;
use crate::tape::{Recompute, Tape};
use crate::text::Message;
use crate::text::tokenizer::DecodeStream;
use crate::{Error, Result};

pub use sampling::Sampling;

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
    /// The end token, after [`Stop::End`].
    pub end: Option<u32>,
    /// The log-probability of each, as [`Chosen`] has it; after [`Stop::End`] one more, the end token's.
    pub logps: Vec<f32>,
    /// Their text.
    pub text: String,
    /// Why it ended.
    pub stop: Stop,
    /// Tokens decoded a second: prefill, which gives the first, is not counted, and 0 stands for it alone.
    pub tokens_per_second: f64,
}

/// What is told of a sequence while it is generated.
#[derive(Clone, Copy, Debug)]
pub enum Said<'g> {
    /// More of its text, in whole characters.
    Text(&'g str),
    /// All of it: it has ended.
    End(&'g Generated),
}

/// A pass over a fixed number of rows that ends in the logits of some of them, and the tokens chosen from these.
struct Step {
    inputs: Inputs,
    /// The row of the cache for each row.
    places: Buffer,
    /// The rows whose logits are asked for, one for each slot.
    last: Buffer,
    plan: Plan,
}

/// A pass that gives slots what others begin with.
struct Share {
    /// For each slot, the one to copy from and how many rows.
    sources: Buffer,
    plan: Plan,
}

/// Generates with one model and one adapter, or none; the model is borrowed or shared.
pub struct Generator<M> {
    model: M,
    virtual_tokens: usize,
    /// Passes over the tokens of prompts, few rows and many.
    prefill: [Step; 2],
    /// For prompts that are there more than once.
    share: Share,
    /// A pass over one token of each slot.
    decode: Step,
    /// `[slots, V]`: what the last pass ended in.
    logits: Buffer,
    /// The tokens that were chosen from them, one for each slot, and how.
    choice: Choice,
    slots: usize,
    positions: usize,
}

/// Rows of the smaller prefill pass: what is left of the prompts seldom fills the larger one.
const LEFT_OVER: usize = 16;

/// A token on its way into a slot's cache.
#[derive(Clone, Copy)]
struct Place {
    slot: usize,
    position: usize,
    id: u32,
    /// Whether a sequence is in the slot: else the row sees no key.
    used: bool,
}

/// What a sequence begins with, and is to go on from.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    /// Where in the cache.
    pub slot: usize,
    /// Virtual tokens and all.
    pub ids: &'a [u32],
    /// Decides what is drawn.
    pub key: [u32; 2],
}

/// A sequence in its slot.
struct Running<'m> {
    /// Its place among the prompts.
    number: usize,
    /// What is in the cache, and the newest token behind it: virtual tokens, prompt, answer.
    ids: Vec<u32>,
    /// How many of them are not the answer.
    first: usize,
    /// The end token, once it came.
    end: Option<u32>,
    logps: Vec<f32>,
    text: String,
    stream: DecodeStream<'m>,
    /// When its prompt was read.
    started: f64,
}

/// The ids that a conversation starts with, rendered by the model's template.
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

impl<M: Deref<Target = Model>> Generator<M> {
    /// Prepares for `slots` sequences at once, each of at most `positions` tokens, virtual ones included; the model's
    /// context bounds it.
    ///
    /// # Errors
    /// [`Error::Limit`] when the cache is larger than the device allows; [`Error::Config`] for a reward adapter.
    pub fn new(model: M, peft: Option<&dyn Peft>, positions: usize, slots: usize) -> Result<Self> {
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
        let layer = |_| CacheLayer::new(context, slots * slot_rows(positions), channels);
        let layers: Vec<CacheLayer> = (0..model.config.layers).map(layer).collect::<Result<_>>()?;
        let logits = context.buffer("logits", (slots * model.config.vocab) as u64 * 4)?;
        let choice = Choice::new(context, slots, model.config.vocab)?;
        choice.write_by(context, &Sampling::default().choose_by());
        let step = |rows, virtual_tokens| -> Result<Step> {
            let inputs = Inputs { virtual_tokens, ..Inputs::new(context, rows)? };
            let places = context.buffer("places in the cache", rows as u64 * 4)?;
            let last = context.buffer("last rows", slots as u64 * 4)?;
            let mut t = Tape::new(context);
            let peft = peft.map(|peft| peft as &dyn Hooks);
            let decoder = Decoder { model: &model, peft, training: false, recompute: Recompute::None };
            let h = decoder.forward(&mut t, &inputs, Some(Cache { layers: &layers, places: &places }));
            t.logits(h, decoder.head(), model.config.logit_cap, &last, slots, &logits);
            t.choose(&logits, &choice);
            let plan = t.finish(context)?;
            Ok(Step { inputs, places, last, plan })
        };
        let share = {
            let sources = context.buffer("slots to copy from", slots as u64 * 8)?;
            let mut t = Tape::new(context);
            layers.iter().for_each(|layer| t.share_cache(layer, &sources, slot_rows(positions), positions));
            Share { sources, plan: t.finish(context)? }
        };
        let virtual_tokens = peft.map_or(0, |peft| peft.virtual_tokens());
        let (prefill, decode) = ([step(LEFT_OVER, true)?, step(PREFILL, true)?], step(slots, false)?);
        Ok(Self { model, virtual_tokens, prefill, share, decode, logits, choice, slots, positions })
    }

    /// Uploads what a pass runs over: tokens in the order of their slots and positions, one for each of its rows; the logits of
    /// some of them are asked for.
    fn upload(&self, step: &Step, tokens: &[Place], asked: impl Iterator<Item = u32>) {
        let context = &self.model.context;
        let first = |token: &Place| (token.slot * slot_rows(self.positions)) as u32;
        let column = |of: &dyn Fn(&Place) -> u32| tokens.iter().map(of).collect::<Vec<u32>>();
        let keys =
            |token: &Place| [first(token), first(token) + if token.used { token.position as u32 + 1 } else { 0 }];
        // A row is asked for in place of those that nobody asks for.
        let last: Vec<u32> = asked.chain(std::iter::repeat(0)).take(self.slots).collect();
        context.write(&step.inputs.ids, 0, &column(&|token| token.id));
        context.write(&step.inputs.positions, 0, &column(&|token| token.position as u32));
        context.write(&step.places, 0, &column(&|token| first(token) + token.position as u32));
        context.write(&step.inputs.masks.keys_of_row, 0, &tokens.iter().map(keys).collect::<Vec<_>>());
        context.write(&step.last, 0, &last);
    }

    /// Runs what sequences start with, each in its slot, in the order of the slots and one behind another; reads what `result`
    /// has of each in the pass that ends it, `width` values. What several start with is run once, and copied.
    async fn run_starts<T: bytemuck::Pod>(
        &self,
        starts: &[Start<'_>],
        result: &Buffer,
        width: usize,
    ) -> Result<Vec<T>> {
        let mut tokens = Vec::new();
        // Of each start, the first one like it, and where its last token is.
        let mut like: Vec<usize> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut known = HashMap::new();
        for (number, start) in starts.iter().enumerate() {
            let first = *known.entry(start.ids).or_insert(number);
            if first == number {
                let place = |(position, &id)| Place { slot: start.slot, position, id, used: true };
                tokens.extend(start.ids.iter().enumerate().map(place));
            }
            like.push(first);
            ends.push(if first == number { tokens.len() - 1 } else { ends[first] });
        }
        let mut results = vec![T::zeroed(); starts.len() * width];
        let mut done = 0;
        while done < tokens.len() {
            let rest = tokens.len() - done;
            let step = &self.prefill[usize::from(rest > PREFILL - LEFT_OVER)];
            let rows = done..done + step.inputs.rows.min(rest);
            let mut pass = tokens[rows.clone()].to_vec();
            // The rows that fill up the last pass are kept behind its last sequence.
            while let Some(last) = pass.last().copied().filter(|_| pass.len() < step.inputs.rows) {
                pass.push(Place { position: last.position + 1, id: 0, ..last });
            }
            let ended: Vec<usize> = (0..starts.len()).filter(|&number| rows.contains(&ends[number])).collect();
            self.upload(step, &pass, ended.iter().map(|&number| (ends[number] - done) as u32));
            self.write_choice(&ended.iter().map(|&number| starts[number]).collect::<Vec<_>>());
            step.plan.run_in_turns(0).await;
            if !ended.is_empty() {
                let found = self.model.context.read::<T>(result, 0, ended.len() * width).await?;
                for (&number, found) in ended.iter().zip(found.chunks_exact(width)) {
                    results[number * width..][..width].copy_from_slice(found);
                }
            }
            done = rows.end;
        }
        if like.iter().enumerate().any(|(number, &first)| number != first) {
            let mut sources: Vec<[u32; 2]> = (0..self.slots as u32).map(|slot| [slot, 0]).collect();
            for (start, &first) in starts.iter().zip(&like) {
                sources[start.slot] = [starts[first].slot as u32, start.ids.len() as u32];
            }
            self.model.context.write(&self.share.sources, 0, &sources);
            self.share.plan.run_in_turns(0).await;
        }
        Ok(results)
    }

    /// Uploads what the choice of tokens reads beside the logits of these sequences.
    fn write_choice(&self, sequences: &[Start]) {
        let context = &self.model.context;
        self.choice.write_keys(context, &sequences.iter().map(|sequence| sequence.key).collect::<Vec<_>>());
        self.choice.write_seen(context, &sequences.iter().map(|sequence| sequence.ids).collect::<Vec<_>>());
    }

    /// Runs what sequences start with; returns the logits `[sequences, V]` after the last token of each.
    pub(crate) async fn logits(&self, starts: &[Start<'_>]) -> Result<Vec<f32>> {
        self.run_starts(starts, &self.logits, self.model.config.vocab).await
    }

    /// Runs what sequences start with; returns the token that was chosen for each.
    pub(crate) async fn prefill(&self, starts: &[Start<'_>]) -> Result<Vec<Chosen>> {
        self.run_starts(starts, &self.choice.chosen, 1).await
    }

    /// Runs the last token of each slot's sequence, behind the others, which the cache has; returns the token that was
    /// chosen for each, and one without a meaning where there is no sequence.
    pub(crate) async fn decode(&self, slots: &[Option<Start<'_>>]) -> Result<Vec<Chosen>> {
        self.upload_decode(slots);
        self.decode.plan.run_in_turns(0).await;
        self.model.context.read(&self.choice.chosen, 0, self.slots).await
    }

    fn upload_decode(&self, slots: &[Option<Start<'_>>]) {
        let empty = |slot| Start { slot, ids: &[], key: [0; 2] };
        let sequences: Vec<Start> =
            slots.iter().enumerate().map(|(slot, start)| start.unwrap_or(empty(slot))).collect();
        let newest = |start: &Start| Place {
            slot: start.slot,
            position: start.ids.len().saturating_sub(1),
            id: start.ids.last().copied().unwrap_or_default(),
            used: !start.ids.is_empty(),
        };
        let tokens: Vec<Place> = sequences.iter().map(newest).collect();
        self.upload(&self.decode, &tokens, 0..self.slots as u32);
        self.write_choice(&sequences);
    }

    /// As [`Generator::decode`], one dispatch after the other, each of them timed.
    ///
    /// # Errors
    /// As [`Plan::profile`].
    pub(crate) async fn profile(&self, slots: &[Option<Start<'_>>]) -> Result<Vec<KernelTime>> {
        self.upload_decode(slots);
        self.decode.plan.profile(0).await
    }

    /// Continues `prompt`. `on_text` is given the text as it comes, in whole characters; it returns false to stop.
    ///
    /// # Errors
    /// As [`Generator::generate_all`].
    pub async fn generate(
        &self,
        prompt: &[u32],
        sampling: Sampling,
        mut on_text: impl FnMut(&str) -> bool,
    ) -> Result<Generated> {
        let mut all = self
            .generate_all(&[prompt], sampling, |_, said| if let Said::Text(text) = said { on_text(text) } else { true })
            .await?;
        Ok(all.remove(0))
    }

    /// Continues each prompt, as many at once as there are slots; what comes of one depends on no other, only on its place
    /// in the list. `told` is given that place and what is told of the sequence; it returns false to stop it. The results
    /// are in the order of the prompts.
    ///
    /// # Errors
    /// [`Error::Config`] when a prompt leaves no room; [`Error::Format`] where the model gives no numbers; [`Error::Gpu`] when the
    /// device failed.
    pub async fn generate_all(
        &self,
        prompts: &[&[u32]],
        sampling: Sampling,
        mut told: impl FnMut(usize, Said) -> bool,
    ) -> Result<Vec<Generated>> {
        for prompt in prompts {
            self.check(prompt)?;
        }
        self.choice.write_by(&self.model.context, &sampling.choose_by());
        let mut done: Vec<Option<Generated>> = vec![None; prompts.len()];
        let mut waiting = prompts.iter().enumerate();
        let mut slots: Vec<Option<Running>> = (0..self.slots).map(|_| None).collect();
        let mut go_on = |slot: &mut Option<Running>, chosen: Chosen| {
            let Some(sequence) = slot else { return };
            if let Some(stop) = self.go_on(sequence, chosen, &sampling, &mut told) {
                let number = sequence.number;
                done[number] = slot.take().map(|sequence| sequence.end(stop, &mut told));
            }
        };
        loop {
            let mut fresh = Vec::new();
            for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
                let Some((number, prompt)) = waiting.next() else { break };
                *slot = Some(Running::new(&self.model, number, self.virtual_tokens, prompt));
                fresh.push(index);
            }
            if !fresh.is_empty() {
                let starts: Vec<_> = fresh.iter().filter_map(|&slot| start(&slots, &sampling, slot)).collect();
                let chosen = self.prefill(&starts).await?;
                self.are_numbers(chosen.iter())?;
                for (index, chosen) in fresh.into_iter().zip(chosen) {
                    if let Some(sequence) = &mut slots[index] {
                        sequence.started = now_ms();
                    }
                    go_on(&mut slots[index], chosen);
                }
                // Some may have ended with their first token.
                continue;
            }
            let starts: Vec<_> = (0..self.slots).map(|slot| start(&slots, &sampling, slot)).collect();
            if starts.iter().all(Option::is_none) {
                break;
            }
            let chosen = self.decode(&starts).await?;
            self.are_numbers(starts.iter().zip(&chosen).filter_map(|(start, chosen)| start.map(|_| chosen)))?;
            for (slot, chosen) in slots.iter_mut().zip(chosen) {
                go_on(slot, chosen);
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Of logits that are no numbers any token might be chosen.
    fn are_numbers<'c>(&self, mut chosen: impl Iterator<Item = &'c Chosen>) -> Result<()> {
        if chosen.any(|chosen| chosen.logp.is_nan()) { Err(Error::no_numbers(&self.model.file)) } else { Ok(()) }
    }

    fn check(&self, prompt: &[u32]) -> Result<()> {
        let len = self.virtual_tokens + prompt.len();
        let what = match prompt.is_empty() {
            true => "it has no tokens".into(),
            false if len >= self.positions => format!("it has {len} tokens, and {} fit", self.positions - 1),
            false => return Ok(()),
        };
        let help = "write a prompt, and keep it shorter than the model's context".into();
        Err(Error::Config { field: "prompt".into(), what, help })
    }

    /// Gives a sequence the token that was chosen for it; says why it ends where it does.
    fn go_on(
        &self,
        sequence: &mut Running,
        Chosen { id, logp }: Chosen,
        sampling: &Sampling,
        told: &mut impl FnMut(usize, Said) -> bool,
    ) -> Option<Stop> {
        let token = sequence.ids.len() - sequence.first;
        if token == sampling.max_new_tokens {
            return Some(Stop::Length);
        }
        sequence.logps.push(logp);
        if self.model.tokenizer.end_ids().contains(&id) {
            sequence.end = Some(id);
            return Some(Stop::End);
        }
        sequence.ids.push(id);
        let piece = sequence.stream.push(id);
        sequence.text.push_str(&piece);
        if !told(sequence.number, Said::Text(&piece)) {
            return Some(Stop::Cancelled);
        }
        // The next token would be decoded at this position.
        let full = token + 1 == sampling.max_new_tokens || sequence.ids.len() > self.positions;
        full.then_some(Stop::Length)
    }
}

impl<'m> Running<'m> {
    fn new(model: &'m Model, number: usize, virtual_tokens: usize, prompt: &[u32]) -> Self {
        let mut ids: Vec<u32> = (model.config.vocab as u32..).take(virtual_tokens).collect();
        ids.extend(prompt);
        let (stream, first) = (model.tokenizer.stream(), ids.len());
        Running { number, ids, first, end: None, logps: Vec::new(), text: String::new(), stream, started: now_ms() }
    }

    fn end(mut self, stop: Stop, told: &mut impl FnMut(usize, Said) -> bool) -> Generated {
        let seconds = (now_ms() - self.started) / 1e3;
        let rest = self.stream.finish();
        if !rest.is_empty() {
            self.text.push_str(&rest);
            told(self.number, Said::Text(&rest));
        }
        let ids = self.ids.split_off(self.first);
        let decoded = self.logps.len().saturating_sub(1) as f64;
        let tokens_per_second = if seconds > 0.0 { decoded / seconds } else { 0.0 };
        let generated = Generated { ids, end: self.end, logps: self.logps, text: self.text, stop, tokens_per_second };
        told(self.number, Said::End(&generated));
        generated
    }
}

/// What the sequence of a slot is to go on from.
fn start<'a>(slots: &'a [Option<Running>], sampling: &Sampling, slot: usize) -> Option<Start<'a>> {
    let sequence = slots[slot].as_ref()?;
    let key = sampling.key(sequence.number, sequence.ids.len() - sequence.first);
    Some(Start { slot, ids: &sequence.ids, key })
}

/// Rows of the cache for one slot: the last prefill pass of a sequence is filled up behind it.
fn slot_rows(positions: usize) -> usize {
    positions + PREFILL
}
