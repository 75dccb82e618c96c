//! A reward adapter as a reward: the score of each answer, by the same base that is being trained.

use std::rc::Rc;

use super::measure::{Measurer, asked};
use crate::data::render::Rendered;
use crate::model::Model;
use crate::objective::Needs;
use crate::peft::Peft;
use crate::reward::{Answer, Earned, Reward};
use crate::settings::config::Method;
use crate::{Error, Result};

/// Scores of a reward adapter.
pub struct RewardModel {
    name: String,
    model: Rc<Model>,
    peft: Rc<dyn Peft>,
    measurer: Measurer,
}

impl RewardModel {
    /// A reward of this name by a reward adapter on this model; `method` is the adapter's.
    ///
    /// # Errors
    /// [`Error::Config`] for an adapter that gives no scores.
    pub fn new(name: &str, model: &Rc<Model>, peft: Rc<dyn Peft>, method: Method) -> Result<Self> {
        if peft.params().score().is_none() {
            return Err(Error::Config {
                field: "reward".into(),
                what: format!("{name} names an adapter that gives no scores"),
                help: "give one that was trained with --objective reward".into(),
            });
        }
        let needs = Needs { score: true, ..Needs::default() };
        let measurer = Measurer::new(needs, asked(model, needs, method));
        Ok(Self { name: name.into(), model: model.clone(), peft, measurer })
    }
}

impl Reward for RewardModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(async move {
            let mut scores = Vec::with_capacity(answers.len());
            for answer in answers {
                let ids = [answer.prompt_ids, answer.ids].concat();
                let targets = (0..ids.len()).map(|index| index >= answer.prompt_ids.len()).collect();
                let row = Rendered { ids, targets, ..Rendered::default() };
                let measured = self.measurer.measure(&self.model, Some(self.peft.as_ref()), &[&row], 1).await?;
                scores.push(Some(measured[0].score));
            }
            Ok(scores)
        })
    }
}
