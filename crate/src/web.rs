//! The surface of the wasm crate: plain data in, plain data out, tensors stay inside. `web/src/engine.d.ts` is its
//! other half.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use js_sys::{Array, Function, JSON, Object, Promise};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::data::example::Example;
use crate::data::import::import_jsonl;
use crate::data::render::Rendered;
use crate::gpu::{Choices, Context};
use crate::model::Model;
use crate::peft;
use crate::settings::config::{Recompute, Rows, RunConfig};
use crate::train::lab::Lab;
use crate::train::{Table, agreement, estimate, neutral_loss, prepare};
use crate::{Error, Result};

mod adapter;
mod adapters;
mod answers;
mod files;
mod form;
mod js;
mod kept_run;
mod kernels;
mod lesson;
mod own_function;
mod product;
mod prompts;
mod reinforcement;
mod rows;
mod run;
mod store;
mod turns;

use adapter::Adapter;
use files::open_model;
use js::{JsResult, thrown, to_js};
use kept_run::Run;

/// What the page calls its table of examples in errors.
const TABLE: &str = "examples";

fn json_text(value: &JsValue) -> String {
    JSON::stringify(value).map(String::from).unwrap_or_default()
}

/// Options that the page should not have given.
fn wrong_options(what: serde_json::Error) -> Error {
    Error::Config {
        field: "options".into(),
        what: what.to_string(),
        help: "this is a fault in Tunesmith: please report it with this message".into(),
    }
}

/// A row of the page's table.
fn example(row: &JsValue) -> Result<Example> {
    let import = import_jsonl(TABLE, &json_text(row));
    match (import.examples.into_iter().next(), import.errors.into_iter().next()) {
        (_, Some(error)) => Err(error),
        (Some((_, example)), None) => Ok(example),
        (None, None) => Err(wrong_row()),
    }
}

fn wrong_row() -> Error {
    Error::Data { file: TABLE.into(), line: None, what: "a row is empty".into(), help: "leave it out".into() }
}

/// Rows of the page's table, each with its place, from 1.
fn examples(rows: &Array) -> Result<Vec<(usize, Example)>> {
    rows.iter().enumerate().map(|(index, row)| Ok((index + 1, example(&row)?))).collect()
}

/// Runs when the module is loaded: a panic, which would be a fault of ours, reaches the console with its place.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| web_sys::console::error_1(&info.to_string().into())));
}

/// One device, one model, its adapters, at most one run.
#[wasm_bindgen]
pub struct Session {
    context: Context,
    model: Option<Rc<Model>>,
    /// The model's name and its files: merging reads them once more.
    source: Option<(String, Vec<web_sys::File>)>,
    /// What the page has handed over, and what the model reads in it.
    rows: RefCell<Table>,
    adapters: Vec<Adapter>,
    /// Adapters so far: the number of the last.
    numbered: u32,
    run: Option<Run>,
    lab: Option<Lab>,
}

#[wasm_bindgen]
impl Session {
    /// Asks for an adapter and a device.
    pub async fn create() -> JsResult<Session> {
        let context = Context::new().await.map_err(thrown)?;
        let rows = RefCell::new(Table::new(TABLE));
        Ok(Self { context, model: None, source: None, rows, adapters: Vec::new(), numbered: 0, run: None, lab: None })
    }

    /// The device in use.
    pub fn device(&self) -> JsValue {
        to_js(self.context.info())
    }

    /// Promises to say when the device is lost, also while nothing is asked of it.
    pub fn lost(&self) -> Promise {
        let lost = self.context.lost();
        future_to_promise(async move {
            match lost {
                Some(lost) => lost.await,
                None => pending().await,
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Loads a model from its files, which `name` is the name of together; the one before stays until this one is ready, and its
    /// adapters go with it. `on_progress` throws to stop. `options` is `{load_in_4bit}`.
    pub async fn load(
        &mut self,
        name: String,
        files: Vec<web_sys::File>,
        on_progress: Function,
        options: Option<Object>,
    ) -> JsResult<JsValue> {
        let stopped = RefCell::new(None);
        let progress = |done: u64, total: u64| {
            if let Err(why) = on_progress.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into()) {
                stopped.replace(Some(why));
            }
        };
        // Where the load waits for the device it may end: what it had made goes with it.
        let model = {
            let mut loading = pin!(self.load_model(&name, &files, progress, options));
            poll_fn(|task| match (loading.as_mut().poll(task), stopped.take()) {
                (Poll::Pending, Some(why)) => Poll::Ready(Err(why)),
                (poll, _) => poll.map_err(thrown),
            })
            .await?
        };
        let config = &model.config;
        let info = json!({
            "name": config.name,
            "architecture": config.architecture,
            "layers": config.layers,
            "hidden": config.hidden,
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "ffn": config.ffn,
            "vocab": config.vocab,
            "context_length": config.context_length,
            "parameters": model.parameters,
            "hash": model.hash,
            "quantization": model.quantization,
            "load_in_4bit": model.load_in_4bit,
            "file_bytes": model.file_bytes,
            "gpu_bytes": model.gpu_bytes(),
            "chat_template": model.template_source,
        });
        (self.model, self.source) = (Some(Rc::new(model)), Some((name, files)));
        (self.adapters, self.run, self.lab) = (Vec::new(), None, None);
        self.rows.borrow_mut().forget();
        Ok(to_js(&info))
    }

    async fn load_model(
        &self,
        name: &str,
        files: &[web_sys::File],
        progress: impl FnMut(u64, u64),
        options: Option<Object>,
    ) -> Result<Model> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Options {
            load_in_4bit: bool,
        }
        let options: Options = match options {
            Some(options) => serde_json::from_str(&json_text(&options)).map_err(wrong_options)?,
            None => Options::default(),
        };
        let gguf = open_model(name, files)?;
        Model::load_as(&self.context, &gguf, options.load_in_4bit, progress).await
    }

    fn model(&self) -> Result<&Rc<Model>> {
        self.model.as_ref().ok_or_else(|| Error::Config {
            field: "model".into(),
            what: "no model is loaded".into(),
            help: "load a model first".into(),
        })
    }

    /// The settings of a run on the model, as far as they go together.
    fn run_config(&self, config: &JsValue) -> Result<RunConfig> {
        self.settled(RunConfig::from_json(&json_text(config))?)
    }

    /// The settings with what the model is, checked.
    fn settled(&self, mut config: RunConfig) -> Result<RunConfig> {
        let model = self.model()?;
        config.take_model(model.load_in_4bit, model.context.half())?;
        config.validate()?;
        Ok(config)
    }

    /// An example as the model will see it.
    pub fn preview(&self, example: JsValue, config: JsValue) -> JsResult<JsValue> {
        self.preview_tokens(&example, &config).map_err(thrown)
    }

    fn preview_tokens(&self, example: &JsValue, config: &JsValue) -> Result<JsValue> {
        let model = self.model()?;
        let config = RunConfig::from_json(&json_text(config))?;
        let rendered = match config.objective.rows() {
            Rows::Prompts => self.rendered_prompt(&config, example)?,
            _ => prepare(model, &config, TABLE, &examples(&Array::of1(example))?)?,
        };
        let tokens = |Rendered { ids, targets, .. }: &Rendered| -> Value {
            // A token that holds a part of a character has no text; that has the last of them.
            let mut stream = model.tokenizer.stream();
            let token = |(index, (&id, &target)): (usize, (&u32, &bool))| {
                // The first token has nothing before it to be predicted from.
                json!({
                    "text": stream.push(id),
                    "target": target && index > 0,
                    "special": model.tokenizer.is_special(id),
                })
            };
            ids.iter().zip(targets).enumerate().map(token).collect()
        };
        let mut preview = match (&rendered[..], config.objective.rows()) {
            ([chosen, rejected], _) => json!({ "chosen": tokens(chosen), "rejected": tokens(rejected) }),
            ([answer, ..], Rows::Verdicts) => json!({ "pieces": tokens(answer), "label": answer.label }),
            (all, _) => json!({ "tokens": all.first().map(tokens) }),
        };
        preview["total"] = rendered.iter().map(|sequence| sequence.ids.len()).sum::<usize>().into();
        preview["targets"] = rendered.iter().map(Rendered::target_tokens).sum::<usize>().into();
        preview["truncated"] = rendered.iter().any(|sequence| sequence.truncated).into();
        Ok(to_js(&preview))
    }

    /// Of the pairs among the rows, how many an adapter agrees with; null is the model alone. Gives `{pairs, agrees}`.
    pub async fn agreement(&self, adapter: Option<u32>, rows: Array) -> JsResult<JsValue> {
        self.agree(adapter, &rows).await.map_err(thrown)
    }

    async fn agree(&self, adapter: Option<u32>, rows: &Array) -> Result<JsValue> {
        let adapter = adapter.map(|id| self.adapter(id)).transpose()?;
        let (peft, method) = adapter.map(|adapter| (adapter.peft.as_ref(), adapter.config.method)).unzip();
        let (pairs, agrees) = agreement(self.model()?, peft, method, TABLE, &examples(rows)?).await?;
        Ok(to_js(&json!({ "pairs": pairs, "agrees": agrees })))
    }

    /// The loss on ordinary text, in nats a token, with an adapter; null is the model alone.
    #[wasm_bindgen(js_name = neutralLoss)]
    pub async fn neutral_loss(&self, adapter: Option<u32>) -> JsResult<f64> {
        let adapter = adapter.map(|id| self.adapter(id)).transpose().map_err(thrown)?;
        let peft = adapter.map(|adapter| adapter.peft.as_ref());
        neutral_loss(self.model().map_err(thrown)?, peft).await.map_err(thrown)
    }

    /// What a run would need on the GPU, with each way to recompute; nothing is allocated.
    pub async fn estimate(&self, config: JsValue, rows: Vec<u32>, held_out: Vec<u32>) -> JsResult<JsValue> {
        self.estimate_run(&config, &rows, &held_out).await.map_err(thrown)
    }

    async fn estimate_run(&self, config: &JsValue, rows: &[u32], held_out: &[u32]) -> Result<JsValue> {
        let (model, config) = (self.model()?, self.run_config(config)?);
        let mut estimates = match config.objective.rows() {
            Rows::Prompts => self.estimate_reinforcement(&config, rows, held_out).await?,
            _ => {
                let (examples, held_out) = self.rendered(&config, rows, held_out)?;
                estimate(model, &config, &examples, &held_out).await?
            }
        };
        if config.recompute != Recompute::Auto {
            estimates.retain(|estimate| estimate.recompute == config.recompute);
        }
        let told = estimates.iter().map(|estimate| {
            let mut told = json!(estimate);
            told["advice"] = estimate.advice().into();
            told
        });
        Ok(to_js(&told.collect::<Vec<Value>>()))
    }

    /// Trainable parameters of a method as it is set, and bytes of the tensors in its file; nothing is allocated.
    pub async fn size(&self, config: JsValue) -> JsResult<JsValue> {
        self.measure(&config).await.map_err(thrown)
    }

    async fn measure(&self, config: &JsValue) -> Result<JsValue> {
        let (model, config) = (self.model()?.rehearsal(), self.run_config(config)?);
        let adapter = peft::create(&model, &config).await?;
        let file_bytes = peft::io::tensor_bytes(adapter.as_ref(), &model.context);
        Ok(to_js(&json!({ "trainable": adapter.params().count(), "file_bytes": file_bytes })))
    }

    /// Examples to learn, and examples to evaluate, of which there may be none.
    fn rendered(&self, config: &RunConfig, rows: &[u32], held_out: &[u32]) -> Result<(Vec<Rendered>, Vec<Rendered>)> {
        let (model, mut table) = (self.model()?, self.rows.borrow_mut());
        let held_out = if held_out.is_empty() { Vec::new() } else { table.sequences(model, config, held_out)? };
        Ok((table.sequences(model, config, rows)?, held_out))
    }

    /// What was found to be the fastest on this device, as text to keep for [`Session::choose_forms`].
    pub fn forms(&self) -> String {
        let info = self.context.info();
        json!({ "device": info.name, "version": env!("CARGO_PKG_VERSION"), "forms": self.context.forms() }).to_string()
    }

    /// Takes up what was found before; what another device or version found counts for nothing.
    #[wasm_bindgen(js_name = chooseForms)]
    pub fn choose_forms(&self, kept: &str) {
        #[derive(serde::Deserialize)]
        struct Kept {
            device: String,
            version: String,
            forms: Choices,
        }
        let kept = serde_json::from_str::<Kept>(kept).ok();
        let ours = |kept: &Kept| kept.device == self.context.info().name && kept.version == env!("CARGO_PKG_VERSION");
        if let Some(kept) = kept.filter(ours) {
            self.context.choose_forms(kept.forms);
        }
    }

    /// Prepares for several methods on the same examples, rendered as the config says.
    #[wasm_bindgen(js_name = openLab)]
    pub fn open_lab(&mut self, config: JsValue, rows: &[u32], held_out: &[u32]) -> JsResult<()> {
        self.prepare_lab(&config, rows, held_out).map_err(thrown)
    }

    fn prepare_lab(&mut self, config: &JsValue, rows: &[u32], held_out: &[u32]) -> Result<()> {
        let config = RunConfig::from_json(&json_text(config))?;
        let (examples, held_out) = self.rendered(&config, rows, held_out)?;
        self.lab = Some(Lab::new(self.model()?.clone(), TABLE, examples, Some(held_out))?);
        Ok(())
    }

    fn lab(&mut self) -> Result<&mut Lab> {
        self.lab.as_mut().ok_or_else(|| Error::Config {
            field: "lab".into(),
            what: "no lab is open".into(),
            help: "press Start first".into(),
        })
    }

    /// Takes up a method in the lab, under the name that its row will have. `on_tune` is as for a run.
    #[wasm_bindgen(js_name = beginTrial)]
    pub async fn begin_trial(&mut self, method: String, config: JsValue, on_tune: Function) -> JsResult<()> {
        let tell = |done: usize, all: usize| {
            // A page that no longer listens is no reason to stop.
            let _ = on_tune.call2(&JsValue::NULL, &(done as f64).into(), &(all as f64).into());
        };
        let config = RunConfig::from_json(&json_text(&config)).map_err(thrown)?;
        self.lab().map_err(thrown)?.begin(&method, &config, tell).await.map_err(thrown)
    }

    /// Does one piece of work of the lab; after a method's last, the progress has its row.
    #[wasm_bindgen(js_name = advanceTrial)]
    pub async fn advance_trial(&mut self) -> JsResult<JsValue> {
        let progress = self.lab().map_err(thrown)?.advance().await.map_err(thrown)?;
        Ok(to_js(&progress))
    }

    /// Ends the lab and gives its memory back.
    #[wasm_bindgen(js_name = closeLab)]
    pub fn close_lab(&mut self) {
        self.lab = None;
    }
}
