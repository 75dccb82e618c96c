//! The surface of the wasm crate: plain data in, plain data out, tensors stay inside. `web/src/engine.d.ts` is its
//! other half.

use std::rc::Rc;

use js_sys::{Array, Function, JSON, Object, Reflect, Uint8Array};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Digest;
use wasm_bindgen::prelude::*;

use crate::data::example::{Example, Message};
use crate::data::import::import_jsonl;
use crate::data::render::Rendered;
use crate::format::gguf::Gguf;
use crate::generate::{Generator, Sampling};
use crate::gpu::{Choices, Context};
use crate::model::Model;
use crate::peft::merge::{Merge, OutType};
use crate::peft::{self, Peft};
use crate::train::config::{Recompute, RunConfig};
use crate::train::field::{FieldValue, Input};
use crate::train::lab::Lab;
use crate::train::{Event, Trainer, estimate, prepare};
use crate::{Error, Result};

mod files;
mod form;

use files::{BlobSource, JsSpill, describe};

pub(crate) type JsResult<T> = std::result::Result<T, JsValue>;

/// What the page calls its table of examples in errors.
const TABLE: &str = "examples";

/// An error as the page takes it: `{code, message, help}`.
pub(crate) fn thrown(error: Error) -> JsValue {
    to_js(&json!({ "code": error.code(), "message": error.to_string(), "help": error.help() }))
}

fn to_js(value: &impl Serialize) -> JsValue {
    // Serialisation into plain objects fails for maps with keys that are no strings, and we have none.
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).unwrap_or(JsValue::NULL)
}

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

/// Examples of the page's table, as rows of a JSONL file with one row each.
fn examples(rows: &Array) -> Result<Vec<(usize, Example)>> {
    let text: Vec<String> = rows.iter().map(|row| json_text(&row)).collect();
    let import = import_jsonl(TABLE, &text.join("\n"));
    match import.errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(import.examples),
    }
}

/// Runs when the module is loaded: a panic, which would be a fault of ours, reaches the console with its place.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| web_sys::console::error_1(&info.to_string().into())));
}

/// SHA-256 of a stream of bytes.
#[wasm_bindgen]
#[derive(Default)]
pub struct Sha256(sha2::Sha256);

#[wasm_bindgen]
impl Sha256 {
    /// Nothing hashed yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything so far, in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One device, one model, one adapter.
#[wasm_bindgen]
pub struct Session {
    context: Context,
    model: Option<Rc<Model>>,
    /// The model's file, by its name: merging reads it once more.
    file: Option<(String, web_sys::Blob)>,
    adapter: Option<Rc<dyn Peft>>,
    run: Option<RunConfig>,
    trainer: Option<Trainer>,
    lab: Option<Lab>,
}

#[wasm_bindgen]
impl Session {
    /// Asks for an adapter and a device.
    pub async fn create() -> JsResult<Session> {
        let context = Context::new().await.map_err(thrown)?;
        Ok(Self { context, model: None, file: None, adapter: None, run: None, trainer: None, lab: None })
    }

    /// The device in use.
    pub fn device(&self) -> JsValue {
        to_js(self.context.info())
    }

    /// Loads a model; the one before stays until this one is ready. `options` is `{load_in_4bit}`.
    pub async fn load(
        &mut self,
        name: String,
        file: web_sys::Blob,
        on_progress: Function,
        options: Option<Object>,
    ) -> JsResult<JsValue> {
        let model = self.load_model(&name, &file, &on_progress, options).await.map_err(thrown)?;
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
            "quantization": model.quantization,
            "load_in_4bit": model.load_in_4bit,
            "file_bytes": model.file_bytes,
            "gpu_bytes": model.gpu_bytes(),
            "chat_template": model.template_source,
        });
        (self.model, self.file) = (Some(Rc::new(model)), Some((name, file)));
        (self.adapter, self.run, self.trainer, self.lab) = (None, None, None, None);
        Ok(to_js(&info))
    }

    async fn load_model(
        &self,
        name: &str,
        blob: &web_sys::Blob,
        on_progress: &Function,
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
        let gguf = Gguf::open(Box::new(BlobSource::new(name.into(), blob.clone())?))?;
        let progress = |done: u64, total: u64| {
            // A page that no longer listens is no reason to stop.
            let _ = on_progress.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
        };
        Model::load_as(&self.context, &gguf, options.load_in_4bit, progress).await
    }

    fn model(&self) -> Result<&Rc<Model>> {
        self.model.as_ref().ok_or_else(|| Error::Config {
            field: "model".into(),
            what: "no model is loaded".into(),
            help: "load a model first".into(),
        })
    }

    /// JSONL to examples, with every bad line named.
    #[wasm_bindgen(js_name = import)]
    pub fn import_rows(&self, name: &str, text: &str) -> JsValue {
        let import = import_jsonl(name, text);
        let errors: Vec<Value> = import
            .errors
            .iter()
            .map(|error| {
                let line = if let Error::Data { line, .. } = error { *line } else { None };
                json!({ "line": line, "message": error.to_string(), "help": error.help() })
            })
            .collect();
        let examples: Vec<&Example> = import.examples.iter().map(|(_, example)| example).collect();
        to_js(&json!({ "examples": examples, "errors": errors }))
    }

    /// An example as the model will see it.
    pub fn preview(&self, example: JsValue, config: JsValue) -> JsResult<JsValue> {
        self.preview_tokens(&example, &config).map_err(thrown)
    }

    fn preview_tokens(&self, example: &JsValue, config: &JsValue) -> Result<JsValue> {
        let model = self.model()?;
        let config = RunConfig::from_json(&json_text(config))?;
        let rendered = prepare(model, &config, TABLE, &examples(&Array::of1(example))?)?.remove(0);
        let Rendered { ids, targets, truncated } = &rendered;
        let tokens: Vec<Value> = ids
            .iter()
            .zip(targets)
            .enumerate()
            .map(|(index, (&id, &target))| {
                // The first token has nothing before it to be predicted from.
                json!({
                    "text": model.tokenizer.decode(&[id]),
                    "target": target && index > 0,
                    "special": model.tokenizer.is_special(id),
                })
            })
            .collect();
        Ok(to_js(&json!({
            "tokens": tokens,
            "total": ids.len(),
            "targets": rendered.target_tokens(),
            "truncated": truncated,
        })))
    }

    /// What a run would need on the GPU, with each way to recompute; nothing is allocated.
    pub async fn estimate(&self, config: JsValue, rows: Array, held_out: Array) -> JsResult<JsValue> {
        self.estimate_run(&config, &rows, &held_out).await.map_err(thrown)
    }

    async fn estimate_run(&self, config: &JsValue, rows: &Array, held_out: &Array) -> Result<JsValue> {
        let model = self.model()?;
        let config = RunConfig::from_json(&json_text(config))?;
        config.validate()?;
        let (examples, held_out) = self.rendered(&config, rows, held_out)?;
        let mut estimates = estimate(model, &config, &examples, &held_out).await?;
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
        let mut config = RunConfig::from_json(&json_text(config))?;
        let model = self.model()?.rehearsal();
        config.take_model(&model)?;
        config.validate()?;
        let adapter = peft::create(&model, &config).await?;
        let file_bytes = peft::io::tensor_bytes(adapter.as_ref(), &model.context);
        Ok(to_js(&json!({ "trainable": adapter.params().count(), "file_bytes": file_bytes })))
    }

    /// Examples to learn, and examples to evaluate, of which there may be none.
    fn rendered(&self, config: &RunConfig, rows: &Array, held_out: &Array) -> Result<(Vec<Rendered>, Vec<Rendered>)> {
        let model = self.model()?;
        let render = |rows| prepare(model, config, TABLE, &examples(rows)?);
        Ok((render(rows)?, if held_out.length() == 0 { Vec::new() } else { render(held_out)? }))
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

    /// Prepares a run; returns its `start` event. `on_tune` is told the products done and those in all while kernels are
    /// tried, which happens once on a device. What the run's memory does not hold goes to `spill`, if there is one.
    #[wasm_bindgen(js_name = startTraining)]
    pub async fn start_training(
        &mut self,
        config: JsValue,
        rows: Array,
        held_out: Array,
        on_tune: Function,
        spill: Option<JsSpill>,
    ) -> JsResult<JsValue> {
        self.prepare_run(&config, &rows, &held_out, &on_tune, spill).await.map_err(thrown)
    }

    async fn prepare_run(
        &mut self,
        config: &JsValue,
        rows: &Array,
        held_out: &Array,
        on_tune: &Function,
        spill: Option<JsSpill>,
    ) -> Result<JsValue> {
        let model = self.model()?.clone();
        let config = RunConfig::from_json(&json_text(config))?;
        config.validate()?;
        let (train, held_out) = self.rendered(&config, rows, held_out)?;
        // The run before gives its memory back first.
        (self.trainer, self.adapter, self.run) = (None, None, None);
        let adapter: Rc<dyn Peft> = peft::create(&model, &config).await?.into();
        let mut trainer = Trainer::new(model, adapter.clone(), &config, train, held_out)?;
        if let Some(spill) = spill {
            trainer.spill_to(Box::new(spill));
        }
        let tell = |done: usize, all: usize| {
            // A page that no longer listens is no reason to stop.
            let _ = on_tune.call2(&JsValue::NULL, &(done as f64).into(), &(all as f64).into());
        };
        trainer.tune(tell).await?;
        let event = trainer.start_event();
        (self.adapter, self.run, self.trainer) = (Some(adapter), Some(trainer.config().clone()), Some(trainer));
        Ok(to_js(&event))
    }

    /// One optimizer step; the last one's events end with `done`.
    pub async fn step(&mut self) -> JsResult<JsValue> {
        self.next_events(false).await.map_err(thrown)
    }

    /// Stops here and keeps what was trained.
    pub async fn finish(&mut self) -> JsResult<JsValue> {
        self.next_events(true).await.map_err(thrown)
    }

    async fn next_events(&mut self, finish: bool) -> Result<JsValue> {
        let Some(trainer) = &mut self.trainer else {
            return Err(Error::Config {
                field: "run".into(),
                what: "no run is going".into(),
                help: "press Train first".into(),
            });
        };
        let mut events: Vec<Event> = if finish { Vec::new() } else { trainer.step().await? };
        if finish || trainer.is_done() {
            events.extend(trainer.flush().await?);
            events.push(trainer.done_event(""));
            // Plans and optimizer state go; the adapter stays.
            self.trainer = None;
        }
        Ok(to_js(&events))
    }

    /// Prepares for several methods on the same examples, rendered as the config says.
    #[wasm_bindgen(js_name = openLab)]
    pub fn open_lab(&mut self, config: JsValue, rows: Array, held_out: Array) -> JsResult<()> {
        self.prepare_lab(&config, &rows, &held_out).map_err(thrown)
    }

    fn prepare_lab(&mut self, config: &JsValue, rows: &Array, held_out: &Array) -> Result<()> {
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

    /// Answers a conversation; `on_text` is given the text as it comes and returns false to stop.
    pub async fn generate(&self, messages: JsValue, options: JsValue, on_text: Function) -> JsResult<JsValue> {
        self.answer(&messages, &options, &on_text).await.map_err(thrown)
    }

    async fn answer(&self, messages: &JsValue, options: &JsValue, on_text: &Function) -> Result<JsValue> {
        #[derive(serde::Deserialize)]
        struct Options {
            adapter: bool,
            #[serde(default = "all")]
            adapter_scale: f32,
            max_new_tokens: usize,
            temperature: f32,
            top_p: f32,
            seed: u64,
        }
        fn all() -> f32 {
            1.0
        }
        let model = self.model()?;
        let options: Options = serde_json::from_str(&json_text(options)).map_err(wrong_options)?;
        let messages: Vec<Message> = serde_json::from_str(&json_text(messages)).map_err(wrong_options)?;
        let adapter = match &self.adapter {
            Some(adapter) if options.adapter => Some(self.scaled(adapter, options.adapter_scale).await?),
            _ => None,
        };
        let adapter = adapter.as_deref();
        let prompt = Generator::chat_ids(model, &messages)?;
        let virtual_tokens = adapter.map_or(0, Peft::virtual_tokens);
        let room = virtual_tokens + prompt.len() + options.max_new_tokens;
        let generator = Generator::new(model, adapter, room)?;
        let sampling = Sampling {
            max_new_tokens: options.max_new_tokens,
            temperature: options.temperature,
            top_p: options.top_p,
            seed: options.seed,
        };
        let go_on = |piece: &str| {
            let answer = on_text.call1(&JsValue::NULL, &piece.into());
            // Only a clear "no" stops.
            answer.map_or(true, |answer| answer.as_bool() != Some(false))
        };
        let generated = generator.generate(&prompt, sampling, go_on).await?;
        Ok(to_js(&json!({
            "text": generated.text,
            "tokens": generated.ids.len(),
            "stop": generated.stop,
            "tokens_per_second": generated.tokens_per_second,
        })))
    }

    /// The adapter at this strength; the one that was trained stays as it is.
    async fn scaled(&self, adapter: &Rc<dyn Peft>, strength: f32) -> Result<Rc<dyn Peft>> {
        if strength == 1.0 {
            return Ok(adapter.clone());
        }
        let model = self.model()?;
        let files = peft::io::save(adapter.as_ref(), model, None).await?;
        Ok(peft::strength::load(model, "adapter", &files[0].bytes, &files[1].bytes, strength).await?.into())
    }

    fn adapter(&self) -> Result<&Rc<dyn Peft>> {
        self.adapter.as_ref().ok_or_else(|| Error::Config {
            field: "adapter".into(),
            what: "there is no adapter yet".into(),
            help: "train one first".into(),
        })
    }

    /// The model with the adapter merged in, as a GGUF file: `on_piece` is given its bytes, piece after piece, the bytes
    /// done with them and those in all. `outtype` is "f32" or "f16".
    #[wasm_bindgen(js_name = mergeGguf)]
    pub async fn merge_gguf(&self, outtype: &str, on_piece: Function) -> JsResult<()> {
        self.merge(outtype, &on_piece).await.map_err(thrown)
    }

    async fn merge(&self, outtype: &str, on_piece: &Function) -> Result<()> {
        let outtype = OutType::read(Input::Text(outtype)).ok_or_else(|| Error::Config {
            field: "outtype".into(),
            what: format!("there is no type {outtype}"),
            help: format!("give {}", OutType::EXPECTED),
        })?;
        let (model, adapter) = (self.model()?, self.adapter()?);
        let (name, blob) = self.file.clone().expect("a model has its file");
        let gguf = Gguf::open(Box::new(BlobSource::new(name.clone(), blob)?))?;
        let merge = Merge::new(model, &gguf, adapter.as_ref(), outtype)?;
        let (mut done, all) = (0, merge.bytes());
        merge
            .write(|piece| {
                done += piece.len() as u64;
                let bytes = Uint8Array::from(piece);
                let taken = on_piece.call3(&JsValue::NULL, &bytes, &(done as f64).into(), &(all as f64).into());
                taken.map(|_| ()).map_err(|error| Error::io(format!("the merged {name}"), describe(&error)))
            })
            .await
    }

    /// The adapter as the files of PEFT's folder: `[{name, bytes}]`.
    #[wasm_bindgen(js_name = exportPeft)]
    pub async fn export_peft(&self) -> JsResult<Array> {
        let (model, adapter) = (self.model().map_err(thrown)?, self.adapter().map_err(thrown)?);
        let files = peft::io::save(adapter.as_ref(), model, self.run.as_ref()).await.map_err(thrown)?;
        let files = files.into_iter().map(|file| {
            let object = Object::new();
            for (key, value) in [("name", file.name.into()), ("bytes", Uint8Array::from(&file.bytes[..]).into())] {
                Reflect::set(&object, &key.into(), &value)?;
            }
            Ok(JsValue::from(object))
        });
        files.collect::<JsResult<Array>>()
    }
}
