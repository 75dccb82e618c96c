//! An example to token ids, with the tokens that are learnt: one sequence, or two where answers are compared.

use std::ops::Range;

use serde::Serialize;

use super::example::{Example, Prompt};
use crate::settings::config::{Objective, Rows, RunConfig};
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

    /// This answer behind another's prompt, cut to `max_length` tokens.
    pub fn behind(&self, other: &Self, max_length: usize) -> Self {
        let (own, others) = (self.prompt_tokens(), other.prompt_tokens());
        let mut ids = [&other.ids[..others], &self.ids[own..]].concat();
        let mut targets = [&other.targets[..others], &self.targets[own..]].concat();
        ids.truncate(max_length);
        targets.truncate(max_length);
        Self { ids, targets, ..self.clone() }
    }

    /// Tokens before the first that is learnt: of an answer, its prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.targets.iter().take_while(|target| !**target).count()
    }

    fn cut(&mut self, max_length: usize) {
        self.ids.truncate(max_length);
        self.targets.truncate(max_length);
        self.truncated = true;
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

/// Renders examples for one model and objective. The switches are TRL's.
pub struct Renderer<'a> {
    /// What the examples are rendered for.
    pub objective: Objective,
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
    /// Take a prompt and its answer that are texts as they are, also where the model has a chat template.
    pub raw: bool,
}

/// What is wrong with an example, and what to do.
struct Wrong {
    what: String,
    help: String,
}

impl Wrong {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Wrong { what: what.into(), help: help.into() }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong::new(error.to_string(), error.help())
    }
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
            objective: config.objective,
            tokenizer,
            template,
            max_length: (config.max_length as usize).min(context_length),
            completion_only_loss: config.completion_only_loss,
            assistant_only_loss: config.assistant_only_loss,
            raw: config.raw,
        }
    }

    /// Renders one example; `file` and `line` are where it came from, for errors. It gives one sequence, or two for a pair:
    /// the chosen side and the rejected one.
    ///
    /// An error if the objective learns from other rows, if the template refuses it, if nothing of it is learnt, or if
    /// truncation cuts off all that is.
    pub fn render(&self, file: &str, line: usize, example: &Example) -> Result<Vec<Rendered>> {
        let at_line = |Wrong { what, help }| Error::Data { file: file.into(), line: Some(line), what, help };
        self.sequences(example).map_err(at_line)
    }

    fn sequences(&self, example: &Example) -> Result<Vec<Rendered>, Wrong> {
        match (self.objective.rows(), example) {
            (Rows::Pairs | Rows::Verdicts, Example::Preference { prompt: Some(prompt), chosen, rejected, margin }) => {
                self.compare(self.answer(prompt, chosen)?, self.answer(prompt, rejected)?, *margin)
            }
            (Rows::Pairs | Rows::Verdicts, Example::Preference { prompt: None, chosen, rejected, margin }) => {
                let (prompt, chosen, rejected) = Prompt::split(chosen, rejected);
                if prompt.is_empty() && self.objective != Objective::Reward {
                    let what = "chosen and rejected begin with nothing in common, so there is no prompt";
                    return Err(Wrong::new(what, "give the prompt, or let both begin with it"));
                }
                self.compare(self.joined(&prompt, &chosen)?, self.joined(&prompt, &rejected)?, *margin)
            }
            (
                Rows::Pairs | Rows::Verdicts,
                Example::PreferenceTokens { prompt_ids, chosen_ids, rejected_ids, margin },
            ) => {
                let answer = |ids| self.answer_tokens(prompt_ids, ids);
                self.compare(answer(chosen_ids)?, answer(rejected_ids)?, *margin)
            }
            (Rows::Verdicts, Example::Unpaired { prompt, completion, label }) => {
                let answer = self.fit("the completion", self.answer(prompt, completion)?)?;
                Ok(vec![Rendered { label: Some(*label), ..answer }])
            }
            (Rows::Verdicts, Example::UnpairedTokens { prompt_ids, completion_ids, label }) => {
                let answer = self.fit("the completion", self.answer_tokens(prompt_ids, completion_ids)?)?;
                Ok(vec![Rendered { label: Some(*label), ..answer }])
            }
            (Rows::Examples, Example::Preference { .. } | Example::PreferenceTokens { .. }) => Err(Wrong::new(
                "it has a chosen and a rejected answer, and supervised training compares none",
                "set objective to dpo, orpo, cpo or reward (--objective dpo), or give the chosen answer as the completion",
            )),
            (Rows::Examples, Example::Unpaired { .. } | Example::UnpairedTokens { .. }) => Err(Wrong::new(
                "it has a label, and supervised training would learn bad answers like good ones",
                "set objective to kto (--objective kto), or keep the good answers alone, without a label",
            )),
            (Rows::Examples, example) => Ok(vec![self.supervised(example)?]),
            (Rows::Pairs, _) => Err(Wrong::new(
                format!("{} compares two answers, and there are no chosen and rejected ones", self.objective.name()),
                "give prompt, chosen and rejected; kto learns from a label, and sft from examples without one",
            )),
            (Rows::Verdicts, _) => Err(Wrong::new(
                format!(
                    "{} learns from answers that were found good or bad, and there is no label",
                    self.objective.name()
                ),
                "give prompt, completion and label, or prompt, chosen and rejected; sft learns from examples without a label",
            )),
            (Rows::Prompts, _) => Err(Wrong::new(
                format!("{} has the model write its answers, and learns from no others", self.objective.name()),
                "give prompts and a reward, or another objective",
            )),
        }
    }

    /// An example of supervised training.
    fn supervised(&self, example: &Example) -> Result<Rendered, Wrong> {
        let mut rendered = match example {
            Example::Messages { messages } => {
                let learnt = if self.assistant_only_loss { Some(0) } else { None };
                self.tokenize(self.conversation(messages, learnt)?)?
            }
            Example::PromptCompletion { prompt, completion } => match self.as_turns(prompt, completion) {
                (Prompt::Messages(prompt), Prompt::Messages(completion)) => {
                    let learnt = match (self.completion_only_loss, self.assistant_only_loss) {
                        (true, _) => Some(prompt.len()),
                        (false, true) => Some(0),
                        (false, false) => None,
                    };
                    self.tokenize(self.conversation(&[prompt, completion].concat(), learnt)?)?
                }
                (Prompt::Text(prompt), Prompt::Text(completion)) => {
                    let start = self.completion_only_loss.then_some(prompt.len());
                    self.plain(prompt + &completion, start)?
                }
                _ => return Err(of_two_kinds()),
            },
            Example::Text { text } => self.plain(text.clone(), None)?,
            Example::Tokens { input_ids, labels } => {
                self.check_ids(input_ids)?;
                let targets = match labels {
                    Some(labels) => labels.iter().map(|label| *label != -100).collect(),
                    None => vec![true; input_ids.len()],
                };
                Rendered { ids: input_ids.clone(), targets, ..Rendered::default() }
            }
            _ => {
                return Err(Wrong::new(
                    "it is none of supervised training's",
                    "give messages, or a prompt and a completion",
                ));
            }
        };
        if rendered.target_tokens() == 0 {
            let help = "give it a reply of the assistant, a completion or a longer text, or leave it out";
            return Err(Wrong::new("nothing in this example is learnt", help));
        }
        let len = rendered.ids.len();
        if len > self.max_length {
            rendered.cut(self.max_length);
            if rendered.target_tokens() == 0 {
                let max = self.max_length;
                let what = format!("all that is learnt lies past max_length: the example has {len} tokens of {max}");
                let help = format!("raise max_length to {len}, or shorten what comes before the reply");
                return Err(Wrong::new(what, help));
            }
        }
        Ok(rendered)
    }

    /// A question and an answer as a conversation, where they are texts and the model has a template for one: what it is asked later
    /// goes through that, too. White space at their ends is what joins two texts, and no part of a turn.
    fn as_turns(&self, prompt: &Prompt, answer: &Prompt) -> (Prompt, Prompt) {
        match (prompt, answer) {
            (Prompt::Text(question), Prompt::Text(reply))
                if !self.raw && self.template.is_some() && !question.trim().is_empty() =>
            {
                let turn = |role, text: &str| Prompt::Messages(vec![Message::new(role, text.trim())]);
                (turn("user", question), turn("assistant", reply))
            }
            _ => (prompt.clone(), answer.clone()),
        }
    }

    /// A prompt and an answer to it, which alone is learnt.
    fn answer(&self, prompt: &Prompt, answer: &Prompt) -> Result<Rendered, Wrong> {
        let (prompt, answer) = self.as_turns(prompt, answer);
        self.joined(&prompt, &answer)
    }

    /// The same, of texts that are joined as they are.
    fn joined(&self, prompt: &Prompt, answer: &Prompt) -> Result<Rendered, Wrong> {
        match (prompt, answer) {
            (Prompt::Text(prompt), Prompt::Text(answer)) => {
                Ok(self.plain(prompt.clone() + answer, Some(prompt.len()))?)
            }
            (Prompt::Messages(prompt), Prompt::Messages(answer)) => {
                let turns = [prompt.as_slice(), answer].concat();
                Ok(self.tokenize(self.conversation(&turns, Some(prompt.len()))?)?)
            }
            _ => Err(of_two_kinds()),
        }
    }

    fn answer_tokens(&self, prompt: &[u32], answer: &[u32]) -> Result<Rendered, Wrong> {
        let ids = [prompt, answer].concat();
        self.check_ids(&ids)?;
        let targets = (0..ids.len()).map(|index| index >= prompt.len()).collect();
        Ok(Rendered { ids, targets, ..Rendered::default() })
    }

    /// The two sides of a pair, for an objective that compares them or takes each by itself.
    fn compare(
        &self,
        mut chosen: Rendered,
        mut rejected: Rendered,
        margin: Option<f64>,
    ) -> Result<Vec<Rendered>, Wrong> {
        if self.objective.rows() == Rows::Verdicts {
            (chosen.label, rejected.label) = (Some(true), Some(false));
        } else {
            share_prompt(&mut chosen, &mut rejected);
            (chosen.margin, rejected.margin) = (margin.unwrap_or_default(), margin.unwrap_or_default());
        }
        let (chosen, rejected) = (self.fit("chosen", chosen)?, self.fit("rejected", rejected)?);
        if chosen.ids == rejected.ids {
            let what = match chosen.truncated {
                true => format!("up to max_length, {} tokens, chosen and rejected are the same", self.max_length),
                false => "chosen and rejected are the same to the model".into(),
            };
            return Err(Wrong::new(what, "raise max_length if they differ later, or leave the row out"));
        }
        Ok(vec![chosen, rejected])
    }

    /// An answer as the objective wants it: without what follows the last token that is learnt, and within `max_length`.
    fn fit(&self, name: &str, mut answer: Rendered) -> Result<Rendered, Wrong> {
        let Some(last) = answer.targets.iter().rposition(|target| *target) else {
            let what = format!("nothing in {name} is learnt");
            return Err(Wrong::new(what, "give it a reply of the assistant, or leave the row out"));
        };
        answer.ids.truncate(last + 1);
        answer.targets.truncate(last + 1);
        let (len, prompt, max) = (answer.ids.len(), answer.prompt_tokens(), self.max_length);
        if self.objective == Objective::Reward {
            if len > max {
                let what = format!("with {name} it has {len} tokens of {max}, and a score is that of the whole");
                return Err(Wrong::new(what, format!("raise max_length to {len}, or leave the row out")));
            }
        } else if prompt == 0 {
            let what = format!("no token stands before {name}, so its first one cannot be predicted");
            return Err(Wrong::new(what, "give a prompt"));
        } else if prompt >= max {
            let what = format!("the prompt has {prompt} tokens, and max_length is {max}: it leaves no room for {name}");
            return Err(Wrong::new(what, format!("raise max_length to {len}, or shorten the prompt")));
        } else if len > max {
            answer.cut(max);
        }
        Ok(answer)
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), Wrong> {
        let vocabulary = self.tokenizer.vocab_size();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => {
                let what = format!("the id {id} is past the vocabulary of {vocabulary}");
                Err(Wrong::new(what, "make the ids with this model's tokenizer"))
            }
            None => Ok(()),
        }
    }

    /// A text as it is, learnt from byte `start` on, or all of it where that is `None`, with the end-of-text token after it
    /// (and the begin-of-text token before it, for a model that wants one).
    fn plain(&self, text: String, start: Option<usize>) -> Result<Rendered> {
        let learnt = std::iter::once(start.unwrap_or(0)..text.len()).collect();
        let mut rendered = self.tokenize(Spans { text, learnt })?;
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.add_bos());
        if let Some(bos) = bos.filter(|bos| rendered.ids.first() != Some(bos)) {
            rendered.ids.insert(0, bos);
            rendered.targets.insert(0, start.is_none());
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
            what: "the model has none, so it cannot be given a conversation".into(),
            help: "use an instruct model, or give prompt and completion, or text".into(),
        })?;
        let whole = template.render_marked(messages, false)?;
        let Some(from) = learnt else {
            let all = std::iter::once(0..whole.text.len()).collect();
            return Ok(Spans { text: whole.text, learnt: all });
        };
        let mut learnt = Vec::new();
        if template.marks_generation() {
            // Many templates cannot do without a message.
            let before = if from == 0 { 0 } else { template.render_marked(&messages[..from], false)?.generated.len() };
            learnt.extend(whole.generated.into_iter().skip(before).map(|span| trim_end(&whole.text, span)));
        } else {
            let end_tokens: Vec<String> =
                self.tokenizer.end_ids().iter().filter_map(|id| self.tokenizer.token(*id)).collect();
            for turn in from..messages.len() {
                if messages[turn].role == "assistant" {
                    learnt.push(template.reply(messages, turn, &whole.text, &end_tokens)?);
                }
            }
        }
        Ok(Spans { text: whole.text, learnt })
    }
}

fn of_two_kinds() -> Wrong {
    Wrong::new("the prompt and what follows it are not of one kind", "give both as texts, or both as lists of messages")
}

/// Makes the prompt of two sides the same tokens: where the tokens of one begin to differ within it, because its end merged
/// with the answer, the answers of both begin.
fn share_prompt(chosen: &mut Rendered, rejected: &mut Rendered) {
    let prompts = [&*chosen, &*rejected].map(|side| &side.ids[..side.prompt_tokens()]);
    let same = prompts[0].iter().zip(prompts[1]).take_while(|(one, other)| one == other).count();
    for side in [chosen, rejected] {
        let prompt = side.prompt_tokens();
        side.targets[same..prompt].fill(true);
    }
}

/// The span without the white space that templates put after an end-of-turn token.
fn trim_end(text: &str, span: Range<usize>) -> Range<usize> {
    span.start..span.start + text[span].trim_end().len()
}
