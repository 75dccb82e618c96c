//! Scores of answers by a reward adapter.

use super::measure::{Measurer, asked};
use crate::data::example::{Example, Prompt};
use crate::data::render::{Rendered, Renderer};
use crate::model::Model;
use crate::objective::Needs;
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
