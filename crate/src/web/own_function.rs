//! A function of the page as a reward. Where it runs, and for how long it may, is the page's affair.

use js_sys::{Array, Function, Promise, Reflect};
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::js::to_js;
use crate::reward::{Answer, Earned, Reward};
use crate::settings::config::RewardKind;
use crate::{Error, Result};

/// The page's function: it is given `[{prompt, completion, columns}]`, and promises a number or null for each.
pub struct OwnFunction {
    name: String,
    judge: Option<Function>,
}

impl OwnFunction {
    /// The function of this session, where there is one: to estimate a run none is needed.
    pub fn new(judge: Option<Function>) -> Self {
        Self { name: RewardKind::Function.name(), judge }
    }

    async fn ask(&self, answers: &[Answer<'_>]) -> Result<Vec<Option<f64>>> {
        let Some(judge) = &self.judge else {
            return Err(wrong("the page handed no function over".into(), "write one, or leave this reward out".into()));
        };
        let asked: Vec<Value> = answers
            .iter()
            .map(|Answer { prompt, columns, text, .. }| json!({ "prompt": prompt, "completion": text, "columns": columns }))
            .collect();
        let promised = judge.call1(&JsValue::NULL, &to_js(&asked)).map_err(|why| refused(&why))?;
        let earned = JsFuture::from(Promise::resolve(&promised)).await.map_err(|why| refused(&why))?;
        if !Array::is_array(&earned) || Array::from(&earned).length() as usize != answers.len() {
            let what = format!("it did not give {} numbers", answers.len());
            return Err(wrong(what, "this is a fault in Tunesmith: please report it with this message".into()));
        }
        Ok(Array::from(&earned).iter().map(|earned| earned.as_f64()).collect())
    }
}

impl Reward for OwnFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(self.ask(answers))
    }
}

/// What the page says went wrong: `{message, help}`.
fn refused(why: &JsValue) -> Error {
    let part = |name: &str| Reflect::get(why, &name.into()).ok().and_then(|part| part.as_string());
    let what = part("message").unwrap_or_else(|| "it failed".into());
    wrong(what, part("help").unwrap_or_else(|| "correct the function, and try it on an answer of your own".into()))
}

fn wrong(what: String, help: String) -> Error {
    Error::Config { field: "reward".into(), what: format!("your function: {what}"), help }
}
