//! An answer that is to be judged, and what judges it.

use std::pin::Pin;

use serde_json::{Map, Value};

use crate::Result;

/// An answer that is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The prompt as a text, its turns one below the other.
    pub prompt: &'a str,
    /// What stood beside the prompt in its row.
    pub columns: &'a Map<String, Value>,
    /// What was written, without the end token.
    pub text: &'a str,
    /// The prompt's ids.
    pub prompt_ids: &'a [u32],
    /// The answer's ids, the end token too where it came to one.
    pub ids: &'a [u32],
    /// The most ids that it may have.
    pub max_length: usize,
}

/// What each answer earned; `None` where there is nothing to say of it.
pub type Earned<'a> = Pin<Box<dyn Future<Output = Result<Vec<Option<f64>>>> + 'a>>;

/// Something that judges answers.
pub trait Reward {
    /// What it is called in metrics and events.
    fn name(&self) -> &str;

    /// What each of the answers earns, in order.
    ///
    /// # Errors
    /// Where none of them can be judged, and the run had better stop.
    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a>;
}
