//! An example to token ids, with the tokens that are learnt.

use std::ops::Range;

use serde::Serialize;

use super::example::{Example, Prompt};
use crate::settings::config::RunConfig;
use crate::text::Message;
use crate::text::template::ChatTemplate;
use crate::text::tokenizer::Tokenizer;
use crate::{Error, Result};

/// An example as the model sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id, whether it is learnt, which is to say predicted from what stands before it. The
    /// first has nothing before it, unless virtual tokens do: only then is its flag of use.
    pub targets: Vec<bool>,
    /// Whether tokens past `max_length` were cut off.
    pub truncated: bool,
    /// Whether the answer was found good, of a single answer.
    pub label: Option<bool>,
    /// By how much the chosen answer is to be better, of a pair.
    pub margin: f64,
}

impl Rendered {
    /// Tokens that are learnt without virtual tokens before them.
    pub fn target_tokens(&self) -> usize {
        self.targets.iter().skip(1).filter(|target| **target).count()
    }

    /// This answer behind another's prompt, cut to `max_length` tokens: what comes before the first token that is learnt is a
    /// prompt.
    pub fn behind(&self, other: &Self, max_length: usize) -> Self {
        let prompt = |rendered: &Self| rendered.targets.iter().position(|target| *target).unwrap_or(rendered.ids.len());
        let (own, others) = (prompt(self), prompt(other));
        let mut ids = [&other.ids[..others], &self.ids[own..]].concat();
        let mut targets = [&other.targets[..others], &self.targets[own..]].concat();
        ids.truncate(max_length);
        targets.truncate(max_length);
        Self { ids, targets, ..self.clone() }
    }

    /// The text in runs of tokens that are learnt and of tokens that are not, to show to a person.
    pub fn pieces(&self, tokenizer: &Tokenizer) -> Vec<Piece> {
        let runs = self.targets.chunk_by(|a, b| a == b);
        let mut at = 0;
        runs.map(|run| {
            let ids = &self.ids[at..at + run.len()];
            at += run.len();
            Piece { text: tokenizer.decode(ids), target: run[0] }
        })
        .collect()
    }
}

/// A run of text that is learnt, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it is learnt.
    pub target: bool,
}

/// Renders examples for one model. The switches are TRL's.
pub struct Renderer<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The model's chat template, where it has one; conversations need it.
    pub template: Option<&'a ChatTemplate>,
    /// Tokens after which an example is cut.
    pub max_length: usize,
    /// Of a prompt and its completion, learn only the completion.
    pub completion_only_loss: bool,
    /// Of a conversation, learn only the assistant's turns.
    pub assistant_only_loss: bool,
}

/// Text, and the byte ranges of it that are learnt.
struct Spans {
    text: String,
    learnt: Vec<Range<usize>>,
}

impl<'a> Renderer<'a> {
    /// A renderer for a model of so many positions, as the run config says.
    pub fn new(
        tokenizer: &'a Tokenizer,
        template: Option<&'a ChatTemplate>,
        context_length: usize,
        config: &RunConfig,
    ) -> Self {
        Renderer {
            tokenizer,
            template,
            max_length: (config.max_length as usize).min(context_length),
            completion_only_loss: config.completion_only_loss,
            assistant_only_loss: config.assistant_only_loss,
        }
    }

    /// Renders one example; `file` and `line` are where it came from, for errors.
    ///
    /// An error if the template refuses it, if nothing of it is learnt, or if truncation cuts off all
    /// that is.
    pub fn render(&self, file: &str, line: usize, example: &Example) -> Result<Rendered> {
        let wrong = |(what, help): (String, String)| Error::Data { file: file.into(), line: Some(line), what, help };
        let at_line = |e: Error| wrong((e.to_string(), e.help()));
        let mut rendered = match example {
            Example::Messages { messages } => {
                let learnt = if self.assistant_only_loss { Some(0) } else { None };
                self.conversation(messages, learnt).and_then(|spans| self.tokenize(spans)).map_err(at_line)?
            }
            Example::PromptCompletion {
                prompt: Prompt::Messages(prompt),
                completion: Prompt::Messages(completion),
            } => {
                let learnt = match (self.completion_only_loss, self.assistant_only_loss) {
                    (true, _) => Some(prompt.len()),
                    (false, true) => Some(0),
                    (false, false) => None,
                };
                let turns = [prompt.as_slice(), completion].concat();
                self.conversation(&turns, learnt).and_then(|spans| self.tokenize(spans)).map_err(at_line)?
            }
            Example::PromptCompletion { prompt: Prompt::Text(prompt), completion: Prompt::Text(completion) } => {
                let start = if self.completion_only_loss { prompt.len() } else { 0 };
                self.plain(prompt.clone() + completion, start).map_err(at_line)?
            }
            Example::PromptCompletion { .. } => {
                let what = "prompt and completion are not of one kind".to_owned();
                return Err(wrong((what, "give both as texts, or both as lists of messages".into())));
            }
            Example::Text { text } => self.plain(text.clone(), 0).map_err(at_line)?,
            Example::Tokens { input_ids, labels } => {
                if let Some(id) = input_ids.iter().find(|id| **id as usize >= self.tokenizer.vocab_size()) {
                    let what = format!("the id {id} is past the vocabulary of {}", self.tokenizer.vocab_size());
                    return Err(wrong((what, "make the ids with this model's tokenizer".into())));
                }
                let targets = match labels {
                    Some(labels) => labels.iter().map(|label| *label != -100).collect(),
                    None => vec![true; input_ids.len()],
                };
                Rendered { ids: input_ids.clone(), targets, ..Rendered::default() }
            }
        };
        if rendered.target_tokens() == 0 {
            let help = "give it a reply of the assistant, a completion or a longer text, or leave it out";
            return Err(wrong(("nothing in this example is learnt".into(), help.into())));
        }
        let len = rendered.ids.len();
        if len > self.max_length {
            rendered.ids.truncate(self.max_length);
            rendered.targets.truncate(self.max_length);
            rendered.truncated = true;
            if rendered.target_tokens() == 0 {
                let max = self.max_length;
                let what = format!("all that is learnt lies past max_length: the example has {len} tokens of {max}");
                return Err(wrong((
                    what,
                    format!("raise max_length to {len}, or shorten what comes before the reply"),
                )));
            }
        }
        Ok(rendered)
    }

    /// A text as it is, learnt from byte `start` on, with the end-of-text token after it (and the
    /// begin-of-text token before it, for a model that wants one).
    fn plain(&self, text: String, start: usize) -> Result<Rendered> {
        let learnt = std::iter::once(start..text.len()).collect();
        let mut rendered = self.tokenize(Spans { text, learnt })?;
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.add_bos());
        if let Some(bos) = bos.filter(|bos| rendered.ids.first() != Some(bos)) {
            rendered.ids.insert(0, bos);
            rendered.targets.insert(0, start == 0);
        }
        if let Some(eos) = self.tokenizer.eos().filter(|eos| rendered.ids.last() != Some(eos)) {
            rendered.ids.push(eos);
            rendered.targets.push(true);
        }
        Ok(rendered)
    }

    /// A token is learnt where it covers any byte of a span that is.
    fn tokenize(&self, spans: Spans) -> Result<Rendered> {
        let tokens = self.tokenizer.encode_spans(&spans.text, true)?;
        let learnt = |token: &Range<usize>| spans.learnt.iter().any(|s| token.start < s.end && s.start < token.end);
        let targets = tokens.iter().map(|(_, span)| learnt(span)).collect();
        Ok(Rendered { ids: tokens.into_iter().map(|(id, _)| id).collect(), targets, ..Rendered::default() })
    }

    /// A conversation, of which the assistant's turns from number `learnt` on are learnt, or all text
    /// where it is `None`.
    fn conversation(&self, messages: &[Message], learnt: Option<usize>) -> Result<Spans> {
        let template = self.template.ok_or_else(|| Error::Template {
            what: "the model has none, so it cannot be given a conversation: use prompt/completion or text".into(),
        })?;
        let whole = template.render_marked(messages, false)?;
        let Some(from) = learnt else {
            let all = std::iter::once(0..whole.text.len()).collect();
            return Ok(Spans { text: whole.text, learnt: all });
        };
        let mut learnt = Vec::new();
        if template.marks_generation() {
            let skipped = template.render_marked(&messages[..from], false)?.generated.len();
            learnt.extend(whole.generated.into_iter().skip(skipped).map(|span| trim_end(&whole.text, span)));
        } else {
            for turn in from..messages.len() {
                if messages[turn].role == "assistant" {
                    learnt.push(self.reply(template, messages, turn, &whole.text)?);
                }
            }
        }
        Ok(Spans { text: whole.text, learnt })
    }

    /// Where the assistant's turn number `turn` stands in the whole text, its end-of-turn token included.
    ///
    /// It is what the template adds after the prompt for it. A template that does not prompt, or that
    /// writes earlier turns differently once later ones follow, is searched for the reply's own words.
    fn reply(&self, template: &ChatTemplate, messages: &[Message], turn: usize, whole: &str) -> Result<Range<usize>> {
        let before = template.render(&messages[..turn], false)?;
        let prompt = template.render(&messages[..turn], true)?;
        let after = template.render(&messages[..=turn], false)?;
        if prompt != before && after.starts_with(&prompt) && whole.starts_with(&after) {
            return Ok(trim_end(whole, prompt.len()..after.len()));
        }
        let words = messages[turn].content.trim();
        let from = if whole.starts_with(&before) { before.len() } else { 0 };
        let found = whole[from..].find(words).filter(|_| !words.is_empty()).map(|at| from + at);
        let start = found.ok_or_else(|| Error::Template {
            what: format!("the reply in messages[{turn}] cannot be found again in what the template makes of it"),
        })?;
        let end = start + words.len();
        let rest = whole[end..].trim_start();
        let token = self.end_tokens().find(|token| rest.starts_with(token.as_str()));
        Ok(start..token.map_or(end, |token| whole.len() - rest.len() + token.len()))
    }

    fn end_tokens(&self) -> impl Iterator<Item = String> + '_ {
        self.tokenizer.end_ids().iter().filter_map(|id| self.tokenizer.token(*id))
    }
}

/// The span without the white space that templates put after an end-of-turn token.
fn trim_end(text: &str, span: Range<usize>) -> Range<usize> {
    span.start..span.start + text[span].trim_end().len()
}
