//! What a run's held-out examples say along the way: their evaluations, and the best of these.

use serde_json::Map;

use super::best::Best;
use super::comparison::Evaluated;
use super::evaluation::{evaluate, mean};
use super::event::{BestEvaluation, Event, ExampleLoss};
use super::trainer::{Trainer, at_once};
use crate::clock::now_ms;
use crate::{Error, Result};

/// What a language model needs to tell a byte of text, which compares models whatever their tokens are.
const BITS_PER_BYTE: &str = "bits_per_byte";

impl Trainer {
    /// Has evaluations tell the bits for each byte of text, of which the held-out targets stand for so many.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.held_out_bytes = (bytes > 0).then_some(bytes);
    }

    /// Evaluates before the first step, where there is something held out. What is wrong with the metric of the best is told
    /// before anything is learnt.
    pub(super) async fn evaluate_first(&mut self) -> Result<Option<Event>> {
        let event = self.measure_held_out().await?;
        if let Some(best) = &self.best {
            best.measured(event.as_ref().ok_or_else(no_held_out)?)?;
        }
        Ok(event)
    }

    /// Evaluates after some steps, and keeps the parameters where that is the best so far.
    pub(super) async fn evaluate_held_out(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(mut event) = self.measure_held_out().await? else { return Ok(()) };
        if let Some(best) = &mut self.best {
            let is_best = best.look(self.step, best.measured(&event)?);
            if is_best && self.config.load_best_model_at_end {
                best.values = Some(self.peft.params().read().await?);
            }
            if let Event::Eval { best, .. } = &mut event {
                *best = is_best;
            }
        }
        events.push(event);
        events.extend(self.best.as_ref().filter(|best| best.is_over() && self.step < self.steps).map(Best::why));
        Ok(())
    }

    /// Puts the parameters of the best evaluation in the place of the last ones, at the end of a run that keeps them.
    pub fn take_best(&mut self) {
        if let Some(values) = self.best.as_mut().and_then(|best| best.values.take()) {
            self.took_best = true;
            let params = self.peft.params();
            values.iter().enumerate().for_each(|(index, values)| params.write(index, values));
        }
    }

    /// The best evaluation so far, where the run looks for it.
    pub fn best(&self) -> Option<BestEvaluation> {
        self.best.as_ref().and_then(Best::found)
    }

    async fn measure_held_out(&mut self) -> Result<Option<Event>> {
        if let Some(rollouts) = self.rollouts.as_mut().filter(|rollouts| rollouts.has_held_out()) {
            let event = rollouts.evaluate(&self.model, Some(self.peft.as_ref()), &self.config, self.step).await?;
            self.last_finished = now_ms();
            return Ok(Some(event));
        }
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let peft = Some(self.peft.as_ref());
        let event = match &mut self.held_out_comparison {
            None => {
                let mut event = eval_event(self.step, evaluate(&self.model, peft, &self.held_out).await?, false);
                if let (Event::Eval { loss: Some(loss), tokens, metrics, .. }, Some(bytes)) =
                    (&mut event, self.held_out_bytes)
                {
                    let bits = *loss * *tokens as f64 / std::f64::consts::LN_2;
                    metrics.insert(BITS_PER_BYTE.into(), (bits / bytes as f64).into());
                }
                event
            }
            Some(comparison) => {
                let at_once = at_once(&self.config);
                let evaluated = comparison.evaluate(&self.model, peft, &self.held_out, at_once).await?;
                compared_event(self.step, evaluated, false)
            }
        };
        self.last_finished = now_ms();
        Ok(Some(event))
    }
}

/// There is no evaluation to go by.
fn no_held_out() -> Error {
    Error::Config {
        field: "load_best_model_at_end".into(),
        what: "the best, and when to stop, is seen on what is held out, and nothing is".into(),
        help: "hold some rows out, with --eval-data on the command line; or leave it and early_stopping_patience out"
            .into(),
    }
}

/// The losses of examples as one event.
fn eval_event(step: usize, losses: Vec<ExampleLoss>, each: bool) -> Event {
    let tokens = losses.iter().map(|example| example.tokens).sum();
    let examples = if each { losses.clone() } else { Vec::new() };
    Event::Eval { step, loss: Some(mean(&losses)), tokens, best: false, examples, metrics: Map::new() }
}

/// The same of groups that were compared.
fn compared_event(step: usize, evaluated: Evaluated, each: bool) -> Event {
    let Evaluated { loss, groups, metrics } = evaluated;
    let tokens = groups.iter().map(|group| group.tokens).sum();
    Event::Eval {
        step,
        loss: Some(loss),
        tokens,
        best: false,
        examples: if each { groups } else { Vec::new() },
        metrics: metrics.to_json(),
    }
}

impl Event {
    /// The `eval` event of a whole file, with each example's own loss.
    pub fn eval(losses: Vec<ExampleLoss>) -> Self {
        eval_event(0, losses, true)
    }

    /// The same of groups that were compared.
    pub fn compared(evaluated: Evaluated) -> Self {
        compared_event(0, evaluated, true)
    }
}
