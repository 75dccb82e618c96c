//! Storage that fails and memory that is not there, at every place: an error or the right result comes of it, never a wrong one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use pollster::block_on;
use serde_json::Map;
use tunesmith::data::import::import_jsonl;
use tunesmith::model::Model;
use tunesmith::peft::io;
use tunesmith::peft::{self, Peft};
use tunesmith::record::{About, Keeper, Parts, Record, Store};
use tunesmith::settings::config::{Method, Recompute, RunConfig};
use tunesmith::train::{Event, Trainer, fitting, prepare};
use tunesmith::{Error, Result};
use tunesmith_tests::models;

const DATA: &str = r#"{"text": "One short line."}
{"text": "Another line, a little longer than the first one was."}
{"prompt": "What is the capital of France?", "completion": "Paris."}"#;

fn config(fields: &[(&str, &str)]) -> RunConfig {
    let mut config = RunConfig::new(Method::Lora);
    let given = [("max_steps", "4"), ("gradient_accumulation_steps", "1"), ("lora_dropout", "0.1"), ("r", "2")];
    for (field, value) in given.iter().chain(fields) {
        config.set(field, value).unwrap();
    }
    config
}

fn trainer(model: &Rc<Model>, config: &RunConfig) -> Result<Trainer> {
    let examples = prepare(model, config, "data", &import_jsonl("data", DATA).examples)?;
    let peft: Rc<dyn Peft> = block_on(peft::create(model, config))?.into();
    Trainer::new(model.clone(), peft, config, examples, Vec::new())
}

/// The adapter's tensors, in the bytes of their file.
fn adapter(trainer: &Trainer) -> Result<Vec<u8>> {
    let files = block_on(io::save(trainer.peft().as_ref(), trainer.model(), None))?;
    Ok(files.into_iter().find(|file| file.name == io::TENSORS).expect("an adapter has tensors").bytes)
}

/// The adapter of a run that nothing disturbs.
fn undisturbed(model: &Rc<Model>) -> Vec<u8> {
    let mut trainer = trainer(model, &config(&[])).unwrap();
    while !trainer.is_done() {
        block_on(trainer.step()).unwrap();
    }
    adapter(&trainer).unwrap()
}

#[test]
fn an_allocation_that_fails_is_told_and_spoils_nothing() {
    let context = models::context();
    let model = Rc::new(models::load(&context, "nano"));
    let right = undisturbed(&model);
    let run = || -> Result<Vec<u8>> {
        let mut trainer = trainer(&model, &config(&[]))?;
        while !trainer.is_done() {
            block_on(trainer.step())?;
        }
        adapter(&trainer)
    };
    let mut told = 0;
    // Its last buffer comes long before that.
    for count in 0..200 {
        context.fail_allocation(count);
        match run() {
            Ok(made) => assert!(made == right, "buffer {count}: another adapter"),
            Err(error) => {
                assert_eq!(error.code(), "out-of-memory", "buffer {count}: {error}");
                told += 1;
            }
        }
        context.forgive_out_of_memory();
    }
    assert!(told > 80, "{told} were told");
    context.fail_allocation(usize::MAX);
    assert!(run().unwrap() == right, "what failed before shows in a later run");
}

#[test]
fn a_run_that_does_not_fit_is_made_leaner_and_says_so() {
    let context = models::context();
    let model = Rc::new(models::load(&context, "nano"));
    let plan = [("recompute", "none"), ("per_device_train_batch_size", "2")];
    let config = config(&plan);
    let tried = |failing: usize, goes_on: bool| {
        let made = Cell::new(0);
        let outcome = block_on(fitting(&config, goes_on, async |config: &RunConfig| {
            made.set(made.get() + 1);
            let trainer = trainer(&model, config)?;
            if made.get() <= failing {
                context.fail_allocation(0);
            }
            Ok(trainer)
        }));
        context.forgive_out_of_memory();
        outcome.map(|(trainer, events)| (trainer.config().clone(), events))
    };
    for (failing, recompute, size) in
        [(0, Recompute::None, 2), (1, Recompute::GateUp, 2), (2, Recompute::Block, 2), (3, Recompute::Block, 1)]
    {
        let (config, events) = tried(failing, false).unwrap();
        assert_eq!((config.recompute, config.per_device_train_batch_size), (recompute, size));
        assert_eq!(config.gradient_accumulation_steps, 2 / size);
        let warned = events.iter().filter(|event| matches!(event, Event::Warning { code: "leaner", .. })).count();
        assert_eq!((events.len(), warned), (failing, failing), "{events:?}");
    }
    assert_eq!(tried(4, false).expect_err("nothing is left to save").code(), "out-of-memory");
    // A run that goes on keeps its batches.
    assert_eq!(tried(3, true).expect_err("nothing is left to save").code(), "out-of-memory");
}

/// Files in memory, which may fail: a folder is written file by file, as in a browser, and what was written stays there.
#[derive(Clone, Default)]
struct Faulty {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    calls: Rc<Cell<usize>>,
    /// The call that fails, and whether all after it do, too.
    failing: Option<(usize, bool)>,
}

impl Faulty {
    fn call(&self) -> Result<()> {
        let call = self.calls.replace(self.calls.get() + 1);
        match self.failing {
            Some((at, all)) if call == at || all && call > at => Err(Error::io("memory", "the disk failed")),
            _ => Ok(()),
        }
    }
}

impl Store for Faulty {
    fn name(&self) -> String {
        "memory".into()
    }

    async fn entries(&self) -> Result<Vec<String>> {
        self.call()?;
        let mut names: Vec<String> =
            self.files.borrow().keys().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    async fn bytes(&self) -> Result<u64> {
        self.call()?;
        Ok(0)
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.call()?;
        Ok(self.files.borrow().get(path).cloned())
    }

    async fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.call()?;
        self.files.borrow_mut().insert(name.into(), bytes.to_vec());
        Ok(())
    }

    async fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        // It may end in the middle of a line, or of a file.
        let failed = self.call();
        let bytes = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        self.files.borrow_mut().entry(name.into()).or_default().extend(bytes);
        failed
    }

    async fn write_folder(&mut self, name: &str, mut files: Parts<'_>) -> Result<()> {
        self.remove_folder(name).await?;
        while let Some(part) = files.next().await? {
            self.append(&format!("{name}/{}", part.name), &part.bytes).await?;
        }
        Ok(())
    }

    async fn remove_folder(&mut self, name: &str) -> Result<()> {
        self.call()?;
        self.files.borrow_mut().retain(|path, _| !path.starts_with(&format!("{name}/")));
        Ok(())
    }
}

#[test]
fn a_run_is_kept_whichever_storage_call_fails() {
    let model = Rc::new(models::load(&models::context(), "nano"));
    let right = undisturbed(&model);
    for all in [false, true] {
        let mut calls = usize::MAX;
        for failing in 0..200 {
            if failing > calls {
                break;
            }
            let store = Faulty { failing: Some((failing, all)), ..Faulty::default() };
            let mut run = trainer(&model, &config(&[])).unwrap();
            let mut events = Vec::new();
            let about = About::new(&run, 0.0, None, Map::new());
            let mut keeper = block_on(Keeper::begin(store.clone(), &run, about, None, &mut events));
            let mut looked = false;
            // As a page drives it, with a checkpoint after each step.
            while !run.is_done() {
                let mut news = block_on(run.step()).unwrap();
                news.extend(block_on(run.flush()).unwrap());
                block_on(keeper.tell(&mut news));
                events.append(&mut news);
                if !run.is_done() {
                    block_on(keeper.checkpoint(&run, &mut events));
                    // Just after it failed, and at the end.
                    if !looked && store.calls.get() > failing {
                        looked = true;
                        look_at(&model, &store, &right, failing);
                    }
                }
            }
            block_on(keeper.finish(&mut run, &mut events));
            assert!(adapter(&run).unwrap() == right, "call {failing}: the run itself is another");
            let is_told = events.iter().any(|event| matches!(event, Event::Warning { code: "not-kept", .. }));
            let failed = store.calls.get() > failing;
            assert_eq!(is_told, failed, "call {failing}");
            if !failed {
                calls = store.calls.get();
            }
            look_at(&model, &store, &right, failing);
        }
        assert!(calls < 200, "every call of a run is tried");
    }
}

/// What is kept is the adapter of the end, or a place from which a run ends with it; or there is nothing.
fn look_at(model: &Rc<Model>, store: &Faulty, right: &[u8], failing: usize) {
    let whole = Faulty { files: store.files.clone(), ..Faulty::default() };
    let Ok((record, config)) = block_on(Record::open(whole)) else {
        return;
    };
    let files = store.files.borrow();
    if files.contains_key(io::CONFIG) {
        assert!(files[io::TENSORS] == right, "call {failing}: another adapter is kept");
    }
    drop(files);
    let Ok((checkpoint, _)) = block_on(record.newest_checkpoint()) else {
        return;
    };
    let mut run = trainer(model, &config).unwrap();
    checkpoint.restore(&mut run).unwrap();
    while !run.is_done() {
        block_on(run.step()).unwrap();
    }
    assert!(adapter(&run).unwrap() == right, "call {failing}: it goes on to another adapter");
}
