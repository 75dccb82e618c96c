//! A lab: several methods on the same examples for the same number of steps, and what each costs and gives. It works a
//! piece at a time: whoever drives it may pause or stop between any two.

use std::rc::Rc;

use serde::Serialize;

use super::estimate::{Estimate, estimate};
use super::evaluation::{Evaluation, mean};
use super::trainer::Trainer;
use crate::clock::now_ms;
use crate::data::render::Rendered;
use crate::generate::{Generator, Said, Sampling};
use crate::model::Model;
use crate::peft::{self, Peft, io};
use crate::settings::config::{LOAD_IN_4BIT, Method, RunConfig};
use crate::{Error, Result};

/// One of this many examples is held out where none are given apart; so many must there be at least.
pub const SHARE: usize = 5;

/// Tokens that an answer may be longer than the one expected.
const LONGER: usize = 8;

/// Answers that are asked for at once.
const AT_ONCE: usize = 8;

/// What one method came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The method, by the name it was asked for.
    pub method: String,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Trainable parameters.
    pub trainable: usize,
    /// Bytes of the tensors in the adapter's file.
    pub file_bytes: usize,
    /// Seconds of training, evaluations not counted.
    pub seconds: f64,
    /// Bytes on the device that the run needs at a time: model, adapter, optimizer and activations.
    pub peak_bytes: u64,
    /// Loss on the held-out examples before, in nats a token: that of the base model.
    pub loss_before: f64,
    /// The same after.
    pub loss_after: f64,
    /// Held-out answers that came out word for word, of all that could be asked for.
    pub exact: usize,
    /// See `exact`.
    pub answers: usize,
}

/// What a lab does for a method, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Evaluates the base model: once a lab, with its first method.
    Before,
    /// Trains.
    Train,
    /// Evaluates what was trained.
    After,
    /// Asks for the held-out answers.
    Answer,
}

/// How far a method is.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// What the last piece of work was of.
    pub stage: Stage,
    /// Pieces of the stage that are done.
    pub done: usize,
    /// All that it has.
    pub all: usize,
    /// The result, after the last piece of the last stage.
    pub row: Option<Row>,
}

/// What is being done for a method.
enum Work {
    Before(Evaluation),
    Train,
    After(Evaluation),
    Answer { next: usize, exact: usize, answers: usize },
}

/// One method on its way.
struct Trial {
    method: String,
    /// The config as the run resolved it.
    config: RunConfig,
    adapter: Rc<dyn Peft>,
    /// Until it has trained.
    trainer: Option<Trainer>,
    peak_bytes: u64,
    started: f64,
    seconds: f64,
    loss_after: f64,
    work: Work,
}

/// Several methods on the same examples, one after the other.
pub struct Lab {
    model: Rc<Model>,
    examples: Vec<Rendered>,
    held_out: Vec<Rendered>,
    /// The base model's loss on `held_out`, once it is known.
    loss_before: Option<f64>,
    trial: Option<Trial>,
}

/// The names that a lab tries where none are given: every method, and LoRA with each of its switches, on one model; what
/// says how to load it is not among them.
pub fn names(load_in_4bit: bool) -> Vec<&'static str> {
    let methods = Method::ALL.iter().filter(|&&method| !(load_in_4bit && method == Method::Full));
    let switches = RunConfig::switches().iter().filter(|switch| switch.field != LOAD_IN_4BIT);
    methods.map(|method| method.name()).chain(switches.map(|switch| switch.name)).collect()
}

impl Lab {
    /// A lab on the examples of `file`. Every fifth is held out where none are given apart.
    ///
    /// # Errors
    /// [`Error::Data`] where there is nothing to learn or nothing to hold out.
    pub fn new(model: Rc<Model>, file: &str, examples: Vec<Rendered>, held_out: Option<Vec<Rendered>>) -> Result<Self> {
        let (examples, held_out) = held_out.map_or_else(|| split(&examples), |held_out| (examples.clone(), held_out));
        if examples.is_empty() || held_out.is_empty() {
            return Err(Error::Data {
                file: file.into(),
                line: None,
                what: format!("of {} no example can be held out", examples.len()),
                help: format!("give {SHARE} or more, or some to hold out apart"),
            });
        }
        Ok(Self { model, examples, held_out, loss_before: None, trial: None })
    }

    /// Examples that are learnt.
    pub fn examples(&self) -> &[Rendered] {
        &self.examples
    }

    /// Examples that are held out.
    pub fn held_out(&self) -> &[Rendered] {
        &self.held_out
    }

    /// Takes up a method; one that was on its way is dropped. `tell` is given the products done and those in all while
    /// kernels are tried, which happens once on a device.
    ///
    /// # Errors
    /// [`Error::Config`] for a run that does not fit its `memory_limit`: a device that is lost would end the whole lab.
    /// And as [`peft::create`] and [`Trainer::new`].
    pub async fn begin(&mut self, method: &str, config: &RunConfig, tell: impl FnMut(usize, usize)) -> Result<()> {
        self.trial = None;
        let mut config = config.clone();
        config.take_model(self.model.load_in_4bit, self.model.context.half())?;
        config.validate()?;
        let config = &config;
        let estimates = estimate(&self.model, config, &self.examples, &[]).await?;
        if !estimates.iter().any(|estimate| estimate.fits) {
            return Err(Estimate::none_fits(&estimates, config));
        }
        let adapter: Rc<dyn Peft> = peft::create(&self.model, config).await?.into();
        let trainer = Trainer::new(self.model.clone(), adapter.clone(), config, self.examples.clone(), Vec::new())?;
        trainer.tune(tell).await?;
        let config = trainer.config().clone();
        let peak = estimates.iter().find(|estimate| estimate.recompute == config.recompute);
        self.trial = Some(Trial {
            method: method.into(),
            peak_bytes: peak.map_or(0, |estimate| estimate.total),
            config,
            adapter,
            trainer: Some(trainer),
            started: 0.0,
            seconds: 0.0,
            loss_after: 0.0,
            work: match self.loss_before {
                None => Work::Before(Evaluation::new(&self.model, None, &self.held_out)),
                Some(_) => Work::Train,
            },
        });
        Ok(())
    }

    /// Does one piece of work: an evaluation of one example, a step, or some answers. After the last, the progress has the
    /// method's row, and the next may begin.
    ///
    /// # Errors
    /// [`Error::Config`] where no method has begun; and as [`Trainer::step`]. The method is dropped then.
    pub async fn advance(&mut self) -> Result<Progress> {
        let Some(trial) = self.trial.take() else {
            return Err(Error::Config {
                field: "lab".into(),
                what: "no method has begun".into(),
                help: "begin one first".into(),
            });
        };
        self.work(trial).await
    }

    async fn work(&mut self, mut trial: Trial) -> Result<Progress> {
        let model = self.model.clone();
        let all = self.held_out.len();
        let (stage, done, all) = match &mut trial.work {
            Work::Before(evaluation) => {
                evaluation.next(&model, None).await?;
                let done = evaluation.losses().len();
                if done == all {
                    self.loss_before = Some(mean(evaluation.losses()));
                    trial.work = Work::Train;
                }
                (Stage::Before, done, all)
            }
            Work::Train => {
                let trainer = trial.trainer.as_mut().expect("it goes when it is done");
                if trainer.steps_done() == 0 {
                    trial.started = now_ms();
                }
                trainer.step().await?;
                let (done, all) = (trainer.steps_done(), trainer.steps());
                if trainer.is_done() {
                    trainer.flush().await?;
                    trial.seconds = (now_ms() - trial.started) / 1e3;
                    trial.trainer = None;
                    trial.work = Work::After(Evaluation::new(&model, Some(trial.adapter.as_ref()), &self.held_out));
                }
                (Stage::Train, done, all)
            }
            Work::After(evaluation) => {
                evaluation.next(&model, Some(trial.adapter.as_ref())).await?;
                let done = evaluation.losses().len();
                if done == all {
                    trial.loss_after = mean(evaluation.losses());
                    trial.work = Work::Answer { next: 0, exact: 0, answers: 0 };
                }
                (Stage::After, done, all)
            }
            Work::Answer { next, exact, answers } => {
                let some = *next..(*next + AT_ONCE).min(all);
                let (right, asked) =
                    exact_answers(&model, trial.adapter.as_ref(), &self.held_out[some.clone()]).await?;
                (*exact, *answers, *next) = (*exact + right, *answers + asked, some.end);
                (Stage::Answer, *next, all)
            }
        };
        let row = match trial.work {
            Work::Answer { next, exact, answers } if next == self.held_out.len() => Some(Row {
                trainable: trial.adapter.params().count(),
                file_bytes: io::tensor_bytes(trial.adapter.as_ref(), &model.context),
                method: trial.method,
                learning_rate: trial.config.learning_rate,
                seconds: trial.seconds,
                peak_bytes: trial.peak_bytes,
                loss_before: self.loss_before.unwrap_or(f64::NAN),
                loss_after: trial.loss_after,
                exact,
                answers,
            }),
            _ => {
                self.trial = Some(trial);
                None
            }
        };
        Ok(Progress { stage, done, all, row })
    }
}

/// Examples to learn, and every fifth to hold out.
fn split(examples: &[Rendered]) -> (Vec<Rendered>, Vec<Rendered>) {
    let (held_out, learnt): (Vec<_>, Vec<_>) =
        examples.iter().cloned().enumerate().partition(|(index, _)| index % SHARE == SHARE - 1);
    let plain = |part: Vec<(usize, Rendered)>| part.into_iter().map(|(_, example)| example).collect();
    (plain(learnt), plain(held_out))
}

/// An example that asks for something: its tokens up to its last answer, and the answer.
struct Asked<'e> {
    prompt: &'e [u32],
    answer: &'e [u32],
    expected: String,
}

impl<'e> Asked<'e> {
    /// `None` for plain text, which asks nothing.
    fn new(model: &Model, example: &'e Rendered) -> Option<Self> {
        let end = example.targets.iter().rposition(|&target| target).map_or(0, |last| last + 1);
        let first = example.targets[..end].iter().rposition(|&target| !target).map_or(0, |last| last + 1);
        if first == 0 || first == end {
            return None;
        }
        let ends = model.tokenizer.end_ids();
        let answer = example.ids[first..end].split(|id| ends.contains(id)).next().unwrap_or_default();
        Some(Self { prompt: &example.ids[..first], answer, expected: model.tokenizer.decode(answer).trim().to_owned() })
    }
}

/// How many of these examples' last answers the model gives word for word, and how many ask for one at all.
async fn exact_answers(model: &Model, adapter: &dyn Peft, examples: &[Rendered]) -> Result<(usize, usize)> {
    let asked: Vec<Asked> = examples.iter().filter_map(|example| Asked::new(model, example)).collect();
    let (Some(longest), Some(prompt)) =
        (asked.iter().map(|asked| asked.answer.len()).max(), asked.iter().map(|asked| asked.prompt.len()).max())
    else {
        return Ok((0, 0));
    };
    let sampling = Sampling { max_new_tokens: longest + LONGER, ..Default::default() };
    let positions = adapter.virtual_tokens() + prompt + sampling.max_new_tokens;
    let generator = Generator::new(model, Some(adapter), positions, asked.len())?;
    let prompts: Vec<&[u32]> = asked.iter().map(|asked| asked.prompt).collect();
    let mut said = vec![String::new(); asked.len()];
    // What has gone another way need not be heard out.
    let on_the_way = |number: usize, more: Said| {
        if let Said::Text(piece) = more {
            said[number].push_str(piece);
        }
        asked[number].expected.starts_with(said[number].trim())
    };
    let given = generator.generate_all(&prompts, sampling, on_the_way).await?;
    let right = given.iter().zip(&asked).filter(|(given, asked)| given.text.trim() == asked.expected).count();
    Ok((right, asked.len()))
}
