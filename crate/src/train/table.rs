//! Rows that are handed over once, each under a number, and what the model reads in each: read once for all who ask.

use std::collections::HashMap;
use std::rc::Rc;

use super::question::{Question, question};
use crate::data::example::Example;
use crate::data::prompts::PromptRow;
use crate::data::render::{Rendered, Renderer};
use crate::data::set::RenderedSet;
use crate::model::Model;
use crate::reward::Rule;
use crate::settings::config::{Objective, RewardKind, Rows, RunConfig};
use crate::{Error, Result};

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// An example, or answers that a person judged.
    Example(Example),
    /// A prompt that the model answers itself.
    Prompt(PromptRow),
}

/// What a model reads in a row.
enum Read {
    Sequences(Vec<Rendered>),
    Question(Question),
}

/// The settings that this depends on.
#[derive(PartialEq)]
struct Reading {
    objective: Objective,
    max_length: i32,
    completion_only_loss: bool,
    assistant_only_loss: bool,
    raw: bool,
    max_completion_length: i32,
    reward: Vec<RewardKind>,
}

impl Reading {
    fn new(config: &RunConfig) -> Self {
        Self {
            objective: config.objective,
            max_length: config.max_length as i32,
            completion_only_loss: config.completion_only_loss,
            assistant_only_loss: config.assistant_only_loss,
            raw: config.raw,
            max_completion_length: config.max_completion_length as i32,
            reward: config.reward.clone(),
        }
    }
}

struct Entry {
    /// The row, or why it is none.
    row: Result<Row>,
    /// What was read last, and with which settings.
    read: Option<(Rc<Reading>, Result<Read>)>,
}

/// What the rows of a run come to.
#[derive(Debug, Default)]
pub struct RowsReport {
    /// Tokens of the rows that can be used.
    pub tokens: usize,
    /// Those of them that are learnt.
    pub targets: usize,
    /// Rows of which tokens past `max_length` were cut off.
    pub truncated: usize,
    /// The rows that cannot be used, and why.
    pub bad: Vec<(u32, Error)>,
}

/// Rows, each under a number of its owner's.
pub struct Table {
    /// What messages call it.
    name: &'static str,
    entries: HashMap<u32, Entry>,
}

impl Table {
    /// An empty one; `name` is what messages call it.
    pub fn new(name: &'static str) -> Self {
        Self { name, entries: HashMap::new() }
    }

    /// Puts a row, or the reason why it is none, in the place of the one of this number.
    pub fn put(&mut self, id: u32, row: Result<Row>) {
        self.entries.insert(id, Entry { row, read: None });
    }

    /// Takes a row out.
    pub fn remove(&mut self, id: u32) {
        self.entries.remove(&id);
    }

    /// Forgets what was read, for another model reads it otherwise.
    pub fn forget(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.read = None);
    }

    /// A row.
    ///
    /// # Errors
    /// [`Error::Data`] where there is none of this number, or what is there is no row.
    pub fn row(&self, id: u32) -> Result<&Row> {
        self.entries.get(&id).ok_or_else(|| self.missing(id))?.row.as_ref().map_err(Clone::clone)
    }

    fn missing(&self, id: u32) -> Error {
        Error::Data {
            file: self.name.into(),
            line: None,
            what: format!("there is no row of number {id}"),
            help: "this is a fault in Tunesmith: please report it with this message".into(),
        }
    }

    /// Reads these rows, one after the other, where that was not done with these settings, for as long as `go_on` says. Gives how
    /// many of them, from the first on, are read.
    ///
    /// # Errors
    /// For a number without a row, and a reward that cannot be had. What is wrong with a row is told by [`Table::report`].
    pub fn read(
        &mut self,
        model: &Model,
        config: &RunConfig,
        ids: &[u32],
        mut go_on: impl FnMut() -> bool,
    ) -> Result<usize> {
        let reading = Rc::new(Reading::new(config));
        let renderer = Renderer::new(&model.tokenizer, model.template.as_deref(), model.config.context_length, config);
        let rules =
            config.reward.iter().filter_map(|kind| Rule::new(kind).transpose()).collect::<Result<Vec<Rule>>>()?;
        for (done, id) in ids.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(id) else { return Err(self.missing(*id)) };
            if entry.read.as_ref().is_some_and(|(known, _)| **known == *reading) {
                continue;
            }
            if !go_on() {
                return Ok(done);
            }
            let read = match (&entry.row, config.objective.rows()) {
                (Err(error), _) => Err(error.clone()),
                (Ok(Row::Prompt(row)), Rows::Prompts) => {
                    let kept = rules.iter().try_for_each(|rule| rule.check(self.name, std::slice::from_ref(row)));
                    kept.and_then(|()| question(model, config, self.name, row)).map(Read::Question)
                }
                (Ok(Row::Example(example)), rows) if rows != Rows::Prompts => {
                    renderer.render(self.name, 1, example).map(Read::Sequences)
                }
                _ => Err(Error::Data {
                    file: self.name.into(),
                    line: Some(1),
                    what: format!("{} learns nothing from a row like this", config.objective.name()),
                    help: "leave it out, or choose another objective".into(),
                }),
            };
            entry.read = Some((reading.clone(), read));
        }
        Ok(ids.len())
    }

    /// What these rows come to.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn report(&mut self, model: &Model, config: &RunConfig, ids: &[u32]) -> Result<RowsReport> {
        let mut report = RowsReport::default();
        for (id, read) in ids.iter().zip(self.all(model, config, ids)?) {
            match read {
                Ok(Read::Sequences(sequences)) => {
                    report.tokens += sequences.iter().map(|sequence| sequence.ids.len()).sum::<usize>();
                    report.targets += sequences.iter().map(Rendered::target_tokens).sum::<usize>();
                    report.truncated += usize::from(sequences.iter().any(|sequence| sequence.truncated));
                }
                Ok(Read::Question(question)) => report.tokens += question.ids.len(),
                Err(error) => report.bad.push((*id, error.clone())),
            }
        }
        Ok(report)
    }

    /// The sequences of these rows, as [`super::prepare`] gives those of a file.
    ///
    /// # Errors
    /// As [`Table::read`], for the first row that cannot be used, and where there are none.
    pub fn sequences(&mut self, model: &Model, config: &RunConfig, ids: &[u32]) -> Result<Vec<Rendered>> {
        let mut set = RenderedSet::default();
        for (line, read) in self.usable(model, config, ids)? {
            if let Read::Sequences(sequences) = read {
                set.rows.push((line, sequences.clone()));
            }
        }
        Ok(set.into_sequences())
    }

    /// The prompts of these rows as the model reads them.
    ///
    /// # Errors
    /// As [`Table::sequences`].
    pub fn questions(&mut self, model: &Model, config: &RunConfig, ids: &[u32]) -> Result<Vec<Question>> {
        let asked = self.usable(model, config, ids)?.into_iter().filter_map(|(_, read)| match read {
            Read::Question(question) => Some(question.clone()),
            Read::Sequences(_) => None,
        });
        Ok(asked.collect())
    }

    /// What was read in each of these rows, with its place among them, from 1.
    fn usable(&mut self, model: &Model, config: &RunConfig, ids: &[u32]) -> Result<Vec<(usize, &Read)>> {
        let name = self.name;
        if ids.is_empty() {
            return Err(Error::Data {
                file: name.into(),
                line: None,
                what: "there are no rows to learn from".into(),
                help: "give at least one".into(),
            });
        }
        let read = self.all(model, config, ids)?.into_iter().enumerate();
        read.map(|(index, read)| Ok((index + 1, read.as_ref().map_err(|error| at_line(error, index + 1))?))).collect()
    }

    fn all(&mut self, model: &Model, config: &RunConfig, ids: &[u32]) -> Result<Vec<&Result<Read>>> {
        self.read(model, config, ids, || true)?;
        Ok(ids.iter().filter_map(|id| self.entries.get(id)?.read.as_ref()).map(|(_, read)| read).collect())
    }
}

/// What is wrong with a row, told of its place.
fn at_line(error: &Error, place: usize) -> Error {
    let mut error = error.clone();
    if let Error::Data { line, .. } = &mut error {
        *line = Some(place);
    }
    error
}
