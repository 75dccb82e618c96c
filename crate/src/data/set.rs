//! The rows of a data set, rendered.

use super::example::{Example, Prompt};
use super::render::{Rendered, Renderer};
use super::warning::{Lines, Warning};
use crate::Error;
use crate::settings::config::Objective;
use crate::text::tokenizer::Tokenizer;

/// Of pairs that become single answers, this many chosen ones come first, and then their rejected ones, as TRL has it.
const PAIRS_AT_ONCE: usize = 1000;

/// What the rows of a data set came to.
#[derive(Debug, Default)]
pub struct RenderedSet {
    /// The rows that can be used, in file order: their lines, and of each its one sequence, or a pair's two.
    pub rows: Vec<(usize, Vec<Rendered>)>,
    /// What a person should know about them.
    pub warnings: Vec<Warning>,
    /// What is wrong with the others, in file order.
    pub errors: Vec<Error>,
}

impl Renderer<'_> {
    /// Renders rows, each with its line. `file` is where they came from, for messages.
    pub fn render_all(&self, file: &str, examples: &[(usize, Example)]) -> RenderedSet {
        let mut set = RenderedSet::default();
        let (mut controls, mut margins) = (Lines::default(), Lines::default());
        let mut first_token = "";
        for (line, example) in examples {
            match self.render(file, *line, example) {
                Ok(sequences) => set.rows.push((*line, sequences)),
                Err(error) => set.errors.push(error),
            }
            if let Some(token) = control_token(self.tokenizer, example) {
                first_token = if first_token.is_empty() { token } else { first_token };
                controls.add(*line);
            }
            if has_margin(example) && self.objective != Objective::Reward {
                margins.add(*line);
            }
        }
        let control =
            format!("{first_token:?} is no text to the model, but a control token: take it out unless it is meant");
        set.warnings.extend(controls.warning("control-token", file, &control));
        let margin = format!("\"margin\" is not read: only reward does, and this is {}", self.objective.name());
        set.warnings.extend(margins.warning("unread", file, &margin));
        set
    }
}

impl RenderedSet {
    /// Lines of examples of which tokens past `max_length` were cut off.
    pub fn truncated(&self) -> Vec<usize> {
        let cut = |sequences: &[Rendered]| sequences.iter().any(|sequence| sequence.truncated);
        self.rows.iter().filter(|(_, sequences)| cut(sequences)).map(|(line, _)| *line).collect()
    }

    /// The sequences in the order of a data set. Sides that are compared stand side by side.
    pub fn into_sequences(self) -> Vec<Rendered> {
        let mut all = Vec::with_capacity(self.rows.len());
        let mut rejected = Vec::new();
        for (_, mut sequences) in self.rows {
            // Sides with labels are single answers.
            let single = sequences.first().is_some_and(|sequence| sequence.label.is_some());
            let later = if single { sequences.split_off(1) } else { Vec::new() };
            if later.is_empty() || rejected.len() == PAIRS_AT_ONCE {
                all.append(&mut rejected);
            }
            all.extend(sequences);
            rejected.extend(later);
        }
        all.append(&mut rejected);
        all
    }
}

fn has_margin(example: &Example) -> bool {
    let (Example::Preference { margin, .. } | Example::PreferenceTokens { margin, .. }) = example else { return false };
    margin.is_some()
}

/// The first control token that stands in a person's text. A text may end itself with the end-of-text token.
fn control_token<'a>(tokenizer: &'a Tokenizer, example: &Example) -> Option<&'a str> {
    let eos = tokenizer.eos().and_then(|id| tokenizer.token(id)).unwrap_or_default();
    let text = |text: &str, ends: bool| {
        tokenizer.control_token_in(text.strip_suffix(eos.as_str()).filter(|_| ends).unwrap_or(text))
    };
    let side = |side: &Prompt, ends: bool| match side {
        Prompt::Text(words) => text(words, ends),
        Prompt::Messages(turns) => turns.iter().find_map(|turn| text(&turn.content, false)),
    };
    match example {
        Example::Messages { messages } => messages.iter().find_map(|turn| text(&turn.content, false)),
        Example::PromptCompletion { prompt, completion } | Example::Unpaired { prompt, completion, .. } => {
            side(prompt, false).or_else(|| side(completion, true))
        }
        Example::Text { text: words } => text(words, true),
        Example::Preference { prompt, chosen, rejected, .. } => {
            let prompt = prompt.as_ref().and_then(|prompt| side(prompt, false));
            prompt.or_else(|| side(chosen, true)).or_else(|| side(rejected, true))
        }
        Example::Tokens { .. } | Example::PreferenceTokens { .. } | Example::UnpairedTokens { .. } => None,
    }
}
