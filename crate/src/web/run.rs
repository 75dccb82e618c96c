//! The run of a session: how it begins, or is taken up again, and its steps.

use std::rc::Rc;

use js_sys::Function;
use serde_json::{Map, Value, json};
use wasm_bindgen::prelude::*;

use super::files::JsSpill;
use super::js::{JsResult, thrown, to_js};
use super::kept_run::Run;
use super::lesson::Lesson;
use super::store::JsStore;
use super::{Session, form, json_text, wrong_options};
use crate::clock::now_ms;
use crate::peft::{self, Peft, io};
use crate::record::{About, Keeper, Record, Summary};
use crate::settings::config::{Rows, RunConfig};
use crate::train::{Event, Trainer, fitting, samples_of};
use crate::{Error, Result};

/// What a run is given beside its settings and rows.
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(typescript_type = "RunTools")]
    pub type Tools;
    /// Is told the products done and those in all while kernels are tried, which happens once on a device.
    #[wasm_bindgen(method, getter, js_name = onTune)]
    fn on_tune(this: &Tools) -> Option<Function>;
    /// Where what the run's memory does not hold goes.
    #[wasm_bindgen(method, getter)]
    fn spill(this: &Tools) -> Option<JsSpill>;
    /// The page's function, where the rewards name one: see [`Session::judge`].
    #[wasm_bindgen(method, getter)]
    fn judge(this: &Tools) -> Option<Function>;
    /// The number of the adapter that the run begins from; a new one, where there is none.
    #[wasm_bindgen(method, getter, js_name = beginFrom)]
    fn begin_from(this: &Tools) -> Option<u32>;
    /// Where the run is kept.
    #[wasm_bindgen(method, getter)]
    fn store(this: &Tools) -> Option<JsStore>;
    /// What the page has to say of it in its record: an object.
    #[wasm_bindgen(method, getter)]
    fn about(this: &Tools) -> JsValue;
}

/// An adapter as the bytes of its config and of its tensors.
type AdapterFiles = [Vec<u8>; 2];

impl Session {
    /// The files of an adapter of the session.
    async fn adapter_files(&self, id: u32) -> Result<AdapterFiles> {
        let files = io::save(self.adapter(id)?.peft.as_ref(), self.model()?, None).await?;
        let [config, tensors] = [io::CONFIG, io::TENSORS]
            .map(|name| files.iter().find(|file| file.name == name).map(|file| file.bytes.clone()).unwrap_or_default());
        Ok([config, tensors])
    }

    /// Makes the trainer of a run, and finds the fastest kernels for it where that was not done yet. `init` is the adapter that its
    /// weights begin from, and `reference` that which it compares with, where there are such.
    async fn trainer(
        &self,
        config: &RunConfig,
        (rows, held_out): (&[u32], &[u32]),
        tools: &Tools,
        [init, reference]: [Option<&AdapterFiles>; 2],
    ) -> Result<Trainer> {
        let model = self.model()?.clone();
        let lesson = match config.objective.rows() {
            Rows::Prompts => Lesson::Prompts(Box::new(self.rollouts(config, rows, held_out, tools.judge())?)),
            _ => {
                let (given, asked) = self.rendered(config, rows, held_out)?;
                let samples = self.examples(if held_out.is_empty() { rows } else { held_out })?;
                Lesson::Examples(given, asked, samples_of(&model, config, &samples))
            }
        };
        let adapter: Rc<dyn Peft> = peft::create(&model, config).await?.into();
        if let Some([_, tensors]) = init {
            io::fill(adapter.as_ref(), ADAPTER, tensors)?;
        }
        let mut trainer = lesson.trainer(model.clone(), adapter, config)?;
        if let Some([config, tensors]) = reference.filter(|_| trainer.needs_reference()) {
            trainer.refer_to(&io::load(&model, ADAPTER, config, tensors).await?.into());
        }
        if let Some(spill) = tools.spill() {
            trainer.spill_to(Box::new(spill));
        }
        if let Some(on_tune) = tools.on_tune() {
            let tell = |done: usize, all: usize| {
                // A page that no longer listens is no reason to stop.
                let _ = on_tune.call2(&JsValue::NULL, &(done as f64).into(), &(all as f64).into());
            };
            trainer.tune(tell).await?;
        }
        Ok(trainer)
    }

    fn take_up(&mut self, trainer: Trainer, keeper: Option<Keeper<JsStore>>) -> Event {
        let event = trainer.start_event();
        let run = keeper.as_ref().map(|keeper| keeper.record().place());
        let adapter = self.keep((None, run), trainer.config().clone(), trainer.peft().clone());
        self.run = Some(Run { adapter, trainer, keeper });
        event
    }

    async fn begin_run(&mut self, config: &JsValue, rows: &[u32], held_out: &[u32], tools: &Tools) -> Result<JsValue> {
        let init = match tools.begin_from() {
            Some(id) => Some(self.adapter_files(id).await?),
            None => None,
        };
        let config = self.config_from(config, init.as_ref())?;
        // The run before gives its memory back first; what it trained stays.
        self.run = None;
        let init = init.as_ref();
        let make = async |config: &RunConfig| self.trainer(config, (rows, held_out), tools, [init; 2]).await;
        let (trainer, mut events) = fitting(&config, false, make).await?;
        let mut keeper = None;
        if let Some(store) = tools.store() {
            let mut more: Map<String, Value> =
                serde_json::from_str(&json_text(&tools.about())).map_err(wrong_options)?;
            let rows = more.remove("rows").map(serde_json::from_value).transpose().map_err(wrong_options)?;
            let about = About::new(&trainer, now_ms(), rows, more);
            let reference = init.filter(|_| trainer.needs_reference()).cloned();
            keeper = Some(Keeper::begin(store, &trainer, about, reference, &mut events).await);
        }
        events.insert(0, self.take_up(trainer, keeper));
        Ok(to_js(&events))
    }

    async fn resume_run(&mut self, rows: &[u32], held_out: &[u32], tools: &Tools) -> Result<JsValue> {
        let store = tools.store().ok_or_else(|| no_run("no record was given"))?;
        let Summary { about, .. } =
            Summary::read(&store).await?.ok_or_else(|| no_run("nothing is kept of this run"))?;
        let about = about.ok_or_else(|| no_run("nothing tells which model it was on"))?;
        let (record, config) = Record::open(store).await?;
        let (checkpoint, remarks) = record.newest_checkpoint().await?;
        let reference = record.reference().await?;
        self.run = None;
        let make = async |config: &RunConfig| {
            let files = [None, reference.as_ref()];
            let mut trainer = self.trainer(config, (rows, held_out), tools, files).await?;
            checkpoint.restore(&mut trainer)?;
            Ok(trainer)
        };
        let (trainer, mut warnings) = fitting(&config, true, make).await?;
        warnings.extend(remarks.into_iter().map(|what| Event::Warning {
            code: "checkpoint",
            message: format!("{what}; the run goes on from step {}", checkpoint.step),
        }));
        let keeper = Keeper::resume(record, &trainer, about, &mut warnings).await;
        let lines = keeper.record().lines().to_vec();
        let start = self.take_up(trainer, Some(keeper));
        let as_value = |event| serde_json::to_value(event).expect("plain values");
        let events = std::iter::once(as_value(start)).chain(lines).chain(warnings.into_iter().map(as_value));
        Ok(to_js(&events.collect::<Vec<Value>>()))
    }

    /// The settings of a run that begins from an adapter: its shape is the adapter's.
    fn config_from(&self, config: &JsValue, init: Option<&AdapterFiles>) -> Result<RunConfig> {
        let config = RunConfig::from_json(&json_text(config))?;
        self.settled(match init {
            Some([own, _]) => io::begun_from(ADAPTER, own, &config)?,
            None => config,
        })
    }

    async fn begun_from(&self, config: &JsValue, id: u32) -> Result<JsValue> {
        let files = self.adapter_files(id).await?;
        Ok(to_js(&self.config_from(config, Some(&files))?.to_json()))
    }

    fn going(&mut self) -> Result<&mut Run> {
        self.run.as_mut().ok_or_else(|| Error::Config {
            field: "run".into(),
            what: "no run is going".into(),
            help: "press Train first".into(),
        })
    }

    async fn next_events(&mut self, finish: bool) -> Result<JsValue> {
        let run = self.going()?;
        let outcome = run.advance(finish).await;
        let (ended, failed) = (finish || run.trainer.is_done(), outcome.is_err());
        // What broke is not worth keeping, and neither is what ended before its first step. A reward that failed broke
        // nothing of what was trained.
        let broke = outcome.as_ref().is_err_and(|error| !matches!(error, Error::Config { .. }));
        if broke || (failed || ended) && run.trainer.steps_done() == 0 {
            let adapter = run.adapter;
            self.adapters.retain(|other| other.id != adapter);
        }
        if failed || ended {
            // Plans and optimizer state go; the adapter stays.
            self.run = None;
        }
        Ok(to_js(&outcome?))
    }

    /// Reads the adapter of a record: that of its end, or of its newest checkpoint.
    async fn adapter_of(&mut self, store: JsStore) -> Result<u32> {
        let (record, config) = Record::open(store).await?;
        let (name, files) = record.adapter().await?;
        let peft = io::load(self.model()?, &name, &files[0], &files[1]).await?;
        Ok(self.keep((None, Some(record.place())), config, peft.into()))
    }
}

/// What messages call the adapter that a run begins from.
const ADAPTER: &str = "the adapter to begin from";

fn no_run(what: &str) -> Error {
    Error::Config { field: "run".into(), what: what.into(), help: "begin a new one".into() }
}

#[wasm_bindgen]
impl Session {
    /// Prepares a run, whose adapter is the last of [`Session::adapters`]; returns its first events, of which `start` comes first.
    #[wasm_bindgen(js_name = startTraining)]
    pub async fn start_training(
        &mut self,
        config: JsValue,
        rows: Vec<u32>,
        held_out: Vec<u32>,
        tools: Tools,
    ) -> JsResult<JsValue> {
        self.begin_run(&config, &rows, &held_out, &tools).await.map_err(thrown)
    }

    /// The settings of a run that begins from an adapter, as `tools.beginFrom` has it.
    #[wasm_bindgen(js_name = configFrom)]
    pub async fn config_of_adapter(&self, config: JsValue, id: u32) -> JsResult<JsValue> {
        self.begun_from(&config, id).await.map_err(thrown)
    }

    /// Takes up a run where its newest checkpoint is, with the rows that it began with; returns its events up to there.
    #[wasm_bindgen(js_name = resumeTraining)]
    pub async fn resume_training(&mut self, rows: Vec<u32>, held_out: Vec<u32>, tools: Tools) -> JsResult<JsValue> {
        self.resume_run(&rows, &held_out, &tools).await.map_err(thrown)
    }

    /// One optimizer step; the last one's events end with `done`.
    pub async fn step(&mut self) -> JsResult<JsValue> {
        self.next_events(false).await.map_err(thrown)
    }

    /// Writes a checkpoint of the run that is going; gives what came with that.
    #[wasm_bindgen(js_name = keepRun)]
    pub async fn keep_run(&mut self) -> JsResult<JsValue> {
        let run = self.going().map_err(thrown)?;
        Ok(to_js(&run.keep().await.map_err(thrown)?))
    }

    /// Stops here and keeps what was trained.
    pub async fn finish(&mut self) -> JsResult<JsValue> {
        self.next_events(true).await.map_err(thrown)
    }

    /// Reads the adapter of a run that is kept, which is the last of [`Session::adapters`] then. Gives its number.
    #[wasm_bindgen(js_name = adapterOfRun)]
    pub async fn adapter_of_run(&mut self, store: JsStore) -> JsResult<u32> {
        self.adapter_of(store).await.map_err(thrown)
    }
}

/// What is kept of a run, in a few lines, with its method under the name that the page's list has for it; null where nothing has
/// begun there.
#[wasm_bindgen(js_name = runSummary)]
pub async fn run_summary(store: JsStore) -> JsResult<JsValue> {
    let Some(summary) = Summary::read(&store).await.map_err(thrown)? else { return Ok(JsValue::NULL) };
    let config = RunConfig::from_json(&summary.config.to_string()).map_err(thrown)?;
    let mut told = json!(summary);
    told["method"] = form::chosen(&config).into();
    Ok(to_js(&told))
}
