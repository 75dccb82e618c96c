//! Scores of answers by a reward adapter.

use super::measure::{Measurer, asked};
use crate::data::example::{Example, Prompt};
use crate::data::render::{Rendered, Renderer};
use crate::model::Model;
use crate::objective::{Needs, Sequence};
use crate::peft::Peft;
use crate::settings::config::{Method, Objective, RunConfig};
use crate::{Error, Result};

/// Renders rows for scores, each with its line: both answers of a pair, or the one that a row has. With them comes what is
/// wrong with the others.
pub fn prepare_for_scores(
    model: &Model,
    config: &RunConfig,
    file: &str,
    rows: &[(usize, Example)],
) -> (Vec<Vec<Rendered>>, Vec<Error>) {
    let positions = model.config.context_length;
    let pairs = Renderer::new(&model.tokenizer, model.template.as_deref(), positions, config);
    let pairs = Renderer { objective: Objective::Reward, ..pairs };
    let single = Renderer::new(&model.tokenizer, model.template.as_deref(), positions, config);
    let single = Renderer { objective: Objective::Kto, ..single };
    let (mut groups, mut errors) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        let rendered = match row {
            Example::Preference { .. } | Example::PreferenceTokens { .. } => pairs.render(file, *line, row),
            other => single.render(file, *line, &answered(other.clone())),
        };
        match rendered {
            Ok(group) => groups.push(group),
            Err(error) => errors.push(error),
        }
    }
    (groups, errors)
}

/// A row with one answer, as one that could have been judged; any other stays as it is, and is refused.
fn answered(row: Example) -> Example {
    match row {
        Example::PromptCompletion { prompt, completion } => Example::Unpaired { prompt, completion, label: true },
        Example::Messages { mut messages } if messages.last().is_some_and(|last| last.role == "assistant") => {
            let answer = messages.split_off(messages.len() - 1);
            Example::Unpaired { prompt: Prompt::Messages(messages), completion: Prompt::Messages(answer), label: true }
        }
        other => other,
    }
}

/// The score of each sequence, one after the other.
///
/// # Errors
/// As [`Error::Gpu`] when the device failed.
///
/// # Panics
/// When the adapter has no score head.
pub async fn scores(model: &Model, peft: &dyn Peft, method: Method, sequences: &[Rendered]) -> Result<Vec<f64>> {
    let needs = Needs { score: true, ..Needs::default() };
    let mut measurer = Measurer::new(needs, asked(model, needs, method));
    let mut scores = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let measured = measurer.measure(model, Some(peft), &[sequence], 1).await?;
        scores.push(measured[0].score);
    }
    Ok(scores)
}

/// Of the pairs among some rows, how many there are, and of how many a model holds the chosen answer for the better one: by
/// the mean log-probability of its tokens, or by the score where the adapter has a score head. Rows that are no pairs are
/// passed over; `method` is the adapter's.
///
/// # Errors
/// The first pair that cannot be used; [`Error::Gpu`] when the device failed.
pub async fn agreement(
    model: &Model,
    peft: Option<&dyn Peft>,
    method: Option<Method>,
    file: &str,
    rows: &[(usize, Example)],
) -> Result<(usize, usize)> {
    let score = peft.is_some_and(|peft| peft.params().score().is_some());
    let objective = if score { Objective::Reward } else { Objective::Dpo };
    let config = RunConfig::defaults(method.unwrap_or(Method::Lora), objective);
    let positions = model.config.context_length;
    let renderer = Renderer::new(&model.tokenizer, model.template.as_deref(), positions, &config);
    let needs = Needs { score, ..Needs::default() };
    let mut measurer = Measurer::new(needs, asked(model, needs, config.method));
    let (mut pairs, mut agrees) = (0, 0);
    for (line, row) in rows {
        if !matches!(row, Example::Preference { .. } | Example::PreferenceTokens { .. }) {
            continue;
        }
        let sides = renderer.render(file, *line, row)?;
        let measured = measurer.measure(model, peft, &sides.iter().collect::<Vec<_>>(), 2).await?;
        let worth = |side: &Sequence| if score { side.score } else { side.mean_log_prob() };
        pairs += 1;
        agrees += usize::from(worth(&measured[0]) > worth(&measured[1]));
    }
    Ok((pairs, agrees))
}
