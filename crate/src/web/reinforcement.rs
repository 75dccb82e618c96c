//! Runs in which the model answers prompts itself, and what its answers earn.

use std::rc::Rc;

use js_sys::{Array, Function};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::adapter::Adapter;
use super::js::{JsResult, problem, thrown, to_js};
use super::own_function::OwnFunction;
use super::prompts::{self, TABLE};
use super::{Session, json_text};
use crate::data::render::Rendered;
use crate::model::Model;
use crate::peft::Peft;
use crate::reward::{Answer, Judge, JudgeReward, Reward, Rule};
use crate::settings::config::{RewardKind, RunConfig};
use crate::train::{Estimate, Question, RewardModel, Rollouts, Trainer, estimate_run, question};
use crate::{Error, Result};

impl Session {
    /// Answers to prompts of the table and to held-out ones, of which there may be none.
    ///
    /// # Errors
    /// For the first row that cannot be used, and for a reward that cannot be had.
    pub(super) fn rollouts(
        &self,
        config: &RunConfig,
        rows: &[u32],
        held_out: &[u32],
        judge: Option<Function>,
    ) -> Result<Rollouts> {
        let (given, held_out) = self.asked(config, rows, held_out)?;
        Rollouts::written(given, held_out, self.rewards(config, self.model()?, judge.as_ref())?)
    }

    /// What such a run would need on the device.
    ///
    /// # Errors
    /// As [`Session::rollouts`], and as [`estimate_run`].
    pub(super) async fn estimate_reinforcement(
        &self,
        config: &RunConfig,
        rows: &[u32],
        held_out: &[u32],
    ) -> Result<Vec<Estimate>> {
        let (given, held_out) = self.asked(config, rows, held_out)?;
        let run = |model: &Rc<Model>, peft: Rc<dyn Peft>, config: &RunConfig| {
            let rewards = self.rewards(config, model, None)?;
            let rollouts = Rollouts::written(given.clone(), held_out.clone(), rewards)?;
            Trainer::reinforce(model.clone(), peft, config, rollouts)
        };
        estimate_run(self.model()?, config, run).await
    }

    /// A prompt of the table as the model reads it: nothing of it is learnt.
    ///
    /// # Errors
    /// For one that cannot be used.
    pub(super) fn rendered_prompt(&self, config: &RunConfig, row: &JsValue) -> Result<Vec<Rendered>> {
        let row = prompts::read(row)?;
        for kind in &config.reward {
            if let Some(rule) = Rule::new(kind)? {
                rule.check(TABLE, std::slice::from_ref(&row))?;
            }
        }
        let Question { ids, .. } = question(self.model()?, config, TABLE, &row)?;
        Ok(vec![Rendered { targets: vec![false; ids.len()], ids, ..Rendered::default() }])
    }

    fn asked(&self, config: &RunConfig, rows: &[u32], held_out: &[u32]) -> Result<(Vec<Question>, Vec<Question>)> {
        let (model, mut table) = (self.model()?, self.rows.borrow_mut());
        let held_out = if held_out.is_empty() { Vec::new() } else { table.questions(model, config, held_out)? };
        Ok((table.questions(model, config, rows)?, held_out))
    }

    /// The rewards of a run on this model, or on one that rehearses it.
    fn rewards(&self, config: &RunConfig, model: &Rc<Model>, judge: Option<&Function>) -> Result<Vec<Box<dyn Reward>>> {
        config.reward.iter().map(|kind| self.reward(kind, model, judge)).collect()
    }

    fn reward(&self, kind: &RewardKind, model: &Rc<Model>, judge: Option<&Function>) -> Result<Box<dyn Reward>> {
        if let Some(rule) = Rule::new(kind)? {
            return Ok(Box::new(rule));
        }
        let unknown = |what: String, help: &str| Err(Error::Config { field: "reward".into(), what, help: help.into() });
        match kind {
            RewardKind::Model(name) => {
                let named = |called: &Option<String>| called.as_ref() == Some(name);
                let is_it = |one: &&Adapter| one.id.to_string() == *name || named(&one.run) || named(&one.file);
                let found = self.adapters.iter().find(is_it);
                let Some(adapter) = found else {
                    let help = "train a reward model from your preferences, or load one in step 4, and choose it again";
                    return unknown(format!("there is no adapter {name} here"), help);
                };
                let (peft, method) = (adapter.peft.clone(), adapter.config.method);
                Ok(Box::new(RewardModel::new(&kind.name(), model, peft, method)?))
            }
            // The page keeps no files: what stands there are the principles themselves.
            RewardKind::Judge(principles) | RewardKind::JudgePairs(principles) => {
                let duels = matches!(kind, RewardKind::JudgePairs(_));
                Ok(Box::new(JudgeReward::new(&kind.name(), Judge::new(model, principles)?, duels)))
            }
            RewardKind::Command(_) => unknown(
                format!("{} is a program, and a page starts none", kind.name()),
                "write a function of your own, or use the command line",
            ),
            RewardKind::JsonSchema(_) => unknown(
                format!("{} is a file, and a page reads none", kind.name()),
                "name the fields with json-fields, write a function of your own, or use the command line",
            ),
            _ => Ok(Box::new(OwnFunction::new(judge.cloned()))),
        }
    }

    async fn try_rewards(
        &self,
        config: &JsValue,
        row: &JsValue,
        answers: &Array,
        judge: Option<&Function>,
    ) -> Result<JsValue> {
        let (model, config) = (self.model()?, RunConfig::from_json(&json_text(config))?);
        let question = question(model, &config, TABLE, &prompts::read(row)?)?;
        let texts: Vec<String> = answers.iter().filter_map(|answer| answer.as_string()).collect();
        let end = model.tokenizer.end_ids().first().copied();
        let ids = texts.iter().map(|text| Ok(model.tokenizer.encode(text, false)?.into_iter().chain(end).collect()));
        let ids: Vec<Vec<u32>> = ids.collect::<Result<_>>()?;
        let asked = texts.iter().zip(&ids).map(|(text, ids)| Answer {
            prompt: &question.text,
            columns: &question.columns,
            text,
            prompt_ids: &question.ids,
            ids,
            max_length: config.max_completion_length as usize,
        });
        let asked: Vec<Answer> = asked.collect();
        let mut verdicts: Vec<Value> = Vec::new();
        for kind in &config.reward {
            let earned = match self.reward(kind, model, judge) {
                Ok(mut reward) => reward.judge(&asked).await,
                Err(error) => Err(error),
            };
            verdicts.push(match earned {
                Ok(earned) => json!({ "name": kind.name(), "earned": earned }),
                Err(error) => json!({ "name": kind.name(), "problem": problem(&error) }),
            });
        }
        Ok(to_js(&verdicts))
    }
}

#[wasm_bindgen]
impl Session {
    /// What the config's rewards say of answers to a prompt of the table, without a run: `[{name, earned}]`, or
    /// `{name, problem}` for a reward that cannot judge them. `judge` is the page's function, where the rewards name one:
    /// it is given `[{prompt, completion, columns}]`, and promises a number or null for each.
    pub async fn judge(
        &self,
        config: JsValue,
        row: JsValue,
        answers: Array,
        judge: Option<Function>,
    ) -> JsResult<JsValue> {
        self.try_rewards(&config, &row, &answers, judge.as_ref()).await.map_err(thrown)
    }
}
