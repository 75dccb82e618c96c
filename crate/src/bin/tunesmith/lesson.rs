//! What a run learns from, read from the files that its flags name: examples, prompts to answer, or recorded answers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ArgMatches;
use tunesmith::data::prompts::PromptRow;
use tunesmith::data::render::Rendered;
use tunesmith::data::rollouts::{RolloutRow, import_rollouts};
use tunesmith::model::Model;
use tunesmith::peft::Peft;
use tunesmith::record::{HELD_OUT, ROWS};
use tunesmith::reward::Reward;
use tunesmith::settings::config::{Rows, RunConfig};
use tunesmith::train::{Question, Rollouts, Trainer, questions, samples_of};
use tunesmith::{Error, Result};

use super::data::Data;
use super::report::Report;
use super::{args, data, rewards};

/// The files as they were read.
pub enum Files {
    /// Examples, and those that are held out.
    Examples(Data, Option<Data>),
    /// Prompts, and those that are held out, each with the file's name.
    Prompts((String, Vec<PromptRow>), Option<(String, Vec<PromptRow>)>),
    /// The name and the text of a file of rollouts.
    Rollouts(String, String),
}

/// The same as a model learns from it.
#[derive(Clone)]
pub enum Lesson {
    /// Examples, those that are held out, and what the model is asked along the way.
    Examples(Vec<Rendered>, Vec<Rendered>, Vec<Question>),
    /// Prompts, and those that are held out, and what an answer earns.
    Prompts(Vec<Question>, Vec<Question>),
    /// Recorded answers.
    Rollouts(Vec<RolloutRow>),
}

impl Files {
    /// Reads them, as the objective wants them. A run that goes on has them in its own `folder`, too.
    ///
    /// # Errors
    /// For a file that cannot be read, or a flag that belongs to another objective.
    pub fn read(matches: &ArgMatches, config: &RunConfig, folder: Option<&Path>, report: &mut Report) -> Result<Self> {
        let own = |name| folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
        let (own_rows, own_held_out) = (own(ROWS), own(HELD_OUT));
        let (given, held_out) = match args::path(matches, "data") {
            Some(given) => (Some(given), args::path(matches, "eval-data")),
            None => (own_rows.as_ref(), args::path(matches, "eval-data").or(own_held_out.as_ref())),
        };
        let writes = config.objective.rows() == Rows::Prompts;
        // Not every command has them.
        let path = |flag| matches.try_get_one::<PathBuf>(flag).ok().flatten();
        let recorded = path("rollouts");
        for flag in ["rollouts", "save-rollouts"] {
            if path(flag).is_some() && !writes {
                return Err(Error::Config {
                    field: flag.into(),
                    what: format!("{} learns from no answers of the model's own", config.objective.name()),
                    help: "set --objective to grpo or rloo, or leave it out".into(),
                });
            }
        }
        match (given, recorded) {
            (_, Some(path)) => data::text(path).map(|(name, text)| Self::Rollouts(name, text)),
            (Some(path), None) if writes => {
                let mut read = |path: &PathBuf| Ok((path.display().to_string(), data::prompts(path, report)?));
                Ok(Self::Prompts(read(path)?, held_out.map(&mut read).transpose()?))
            }
            (Some(path), None) => {
                Ok(Self::Examples(data::read(path)?, held_out.map(|path| data::read(path)).transpose()?))
            }
            (None, None) => Err(Error::Config {
                field: "data".into(),
                what: "there is nothing to learn from".into(),
                help: "give --data FILE".into(),
            }),
        }
    }

    /// Renders them for a model.
    ///
    /// # Errors
    /// When any row cannot be used, after telling which and why; for a reward that compares with a column which is not
    /// there.
    pub fn render(self, model: &Model, config: &RunConfig, report: &mut Report) -> Result<Lesson> {
        match self {
            Self::Examples(given, held_out) => {
                let samples = samples_of(model, config, &held_out.as_ref().unwrap_or(&given).examples);
                let given = data::render(given, model, config, report)?;
                let held_out = held_out.map(|held_out| data::render(held_out, model, config, report)).transpose()?;
                Ok(Lesson::Examples(given, held_out.unwrap_or_default(), samples))
            }
            Self::Prompts(given, held_out) => {
                let mut render = |(name, rows): (String, Vec<PromptRow>)| {
                    rewards::check(config, &name, &rows)?;
                    let (questions, errors) = questions(model, config, &name, &rows);
                    data::refuse(errors, rows.len(), &name, report)?;
                    Ok(questions)
                };
                let given = render(given)?;
                Ok(Lesson::Prompts(given, held_out.map(&mut render).transpose()?.unwrap_or_default()))
            }
            Self::Rollouts(name, text) => {
                let group = config.num_generations as usize;
                import_rollouts(&name, &text, group, model.config.vocab).map(Lesson::Rollouts)
            }
        }
    }
}

impl Lesson {
    /// A run on it.
    ///
    /// # Errors
    /// As [`Trainer::new`], [`Trainer::reinforce`] and [`Rollouts::written`].
    pub fn trainer(
        self,
        model: &Rc<Model>,
        peft: Rc<dyn Peft>,
        config: &RunConfig,
        rewards: Vec<Box<dyn Reward>>,
    ) -> Result<Trainer> {
        match self {
            Self::Examples(given, held_out, samples) => {
                let mut trainer = Trainer::new(model.clone(), peft, config, given, held_out)?;
                trainer.ask_along(samples);
                Ok(trainer)
            }
            Self::Prompts(given, held_out) => {
                Trainer::reinforce(model.clone(), peft, config, Rollouts::written(given, held_out, rewards)?)
            }
            Self::Rollouts(rows) => Trainer::reinforce(model.clone(), peft, config, Rollouts::recorded(rows)),
        }
    }
}
