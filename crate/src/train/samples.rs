//! What the model says along the way: some of the person's own questions, asked at each evaluation.

use serde_json::Map;

use super::event::Event;
use super::question::{Question, questions};
use super::trainer::Trainer;
use crate::Result;
use crate::clock::now_ms;
use crate::data::example::Example;
use crate::data::prompts::PromptRow;
use crate::generate::{Generator, Sampling};
use crate::model::Model;
use crate::settings::config::RunConfig;

/// Tokens of an answer: enough to see how it speaks.
const MOST: usize = 48;

/// The first examples that ask something, as many as the run is to answer along the way. One that leaves no room is passed over.
pub fn samples_of(model: &Model, config: &RunConfig, examples: &[(usize, Example)]) -> Vec<Question> {
    let asked = examples.iter().filter_map(|(line, example)| {
        Some(PromptRow { line: *line, prompt: example.question()?, columns: Map::new() })
    });
    let rows: Vec<PromptRow> = asked.take(config.samples as usize).collect();
    // An answer ends where the model's positions do.
    let mut config = config.clone();
    config.max_completion_length = 1;
    questions(model, &config, "samples", &rows).0
}

impl Trainer {
    /// Has these answered at each evaluation, and at the end.
    pub fn ask_along(&mut self, samples: Vec<Question>) {
        self.samples = samples;
    }

    /// Answers them, one beside the other, with the likeliest tokens.
    pub(super) async fn answer_samples(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(longest) = self.samples.iter().map(|sample| sample.ids.len()).max() else { return Ok(()) };
        let peft = self.peft.as_ref();
        let positions = (peft.virtual_tokens() + longest + MOST).min(self.model.config.context_length);
        let generator = Generator::new(self.model.clone(), Some(peft), positions, self.samples.len())?;
        let prompts: Vec<&[u32]> = self.samples.iter().map(|sample| &sample.ids[..]).collect();
        let sampling = Sampling { max_new_tokens: MOST, ..Sampling::default() };
        let answers = generator.generate_all(&prompts, sampling, |_, _| true).await?;
        let (step, samples) = (self.step, &self.samples);
        events.extend(samples.iter().zip(answers).map(|(sample, answer)| Event::Sample {
            step,
            prompt: sample.text.clone(),
            text: answer.text,
        }));
        self.last_finished = now_ms();
        Ok(())
    }
}
