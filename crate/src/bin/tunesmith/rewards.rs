//! The rewards that `--reward` names, made ready.

use std::path::Path;
use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::prompts::PromptRow;
use tunesmith::model::Model;
use tunesmith::peft::{Peft, io};
use tunesmith::reward::{Judge, JudgeReward, Reward, Rule};
use tunesmith::settings::config::{RewardKind, RunConfig};
use tunesmith::train::RewardModel;
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::data;
use super::reward_command::RewardCommand;
use super::reward_schema::RewardSchema;

/// Makes sure that the rows have what the rules compare with.
///
/// # Errors
/// As [`Rule::new`] and [`Rule::check`].
pub fn check(config: &RunConfig, file: &str, rows: &[PromptRow]) -> Result<()> {
    config.reward.iter().try_for_each(|kind| Rule::new(kind)?.map_or(Ok(()), |rule| rule.check(file, rows)))
}

/// The rewards of a run on a model. The judge is the model itself without an adapter, or `judge`.
///
/// # Errors
/// For a pattern that is none, an adapter that gives no scores or is of another base, principles that cannot be read, a
/// program that cannot be started, and a function of the page.
pub fn create(config: &RunConfig, model: &Rc<Model>, judge: Option<&Rc<Model>>) -> Result<Vec<Box<dyn Reward>>> {
    config.reward.iter().map(|kind| reward(kind, model, judge.unwrap_or(model))).collect()
}

/// The judge that goes by the principles of a file.
///
/// # Errors
/// For a file that cannot be read, or as [`Judge::new`].
pub fn judge(model: &Rc<Model>, path: &Path) -> Result<Judge> {
    let (_, principles) = data::text(path)?;
    Judge::new(model, &principles)
}

fn reward(kind: &RewardKind, model: &Rc<Model>, judging: &Rc<Model>) -> Result<Box<dyn Reward>> {
    if let Some(rule) = Rule::new(kind)? {
        return Ok(Box::new(rule));
    }
    match kind {
        RewardKind::Model(folder) => {
            let adapter = Adapter::read(Path::new(folder))?;
            let own = io::run_config(&adapter.folder, &adapter.config)?;
            let peft: Rc<dyn Peft> =
                block_on(io::load(model, &adapter.folder, &adapter.config, &adapter.tensors))?.into();
            Ok(Box::new(RewardModel::new(&kind.name(), model, peft, own.method)?))
        }
        RewardKind::Judge(path) => {
            Ok(Box::new(JudgeReward::new(&kind.name(), judge(judging, Path::new(path))?, false)))
        }
        RewardKind::JudgePairs(path) => {
            Ok(Box::new(JudgeReward::new(&kind.name(), judge(judging, Path::new(path))?, true)))
        }
        RewardKind::JsonSchema(path) => {
            let (file, text) = data::text(Path::new(path))?;
            Ok(Box::new(RewardSchema::new(&kind.name(), &file, &text)?))
        }
        RewardKind::Command(command) => Ok(Box::new(RewardCommand::start(&kind.name(), command)?)),
        RewardKind::Function => Err(Error::Config {
            field: "reward".into(),
            what: "function stands for one that was written in the page, and a run's settings do not hold it".into(),
            help: "leave it out, or have a program judge in its place: command:CMD".into(),
        }),
        _ => unreachable!("all others are rules"),
    }
}
