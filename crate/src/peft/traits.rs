//! What a tuning method is to the others: a trait for each of its four jobs, and `Peft` for all of them.

use std::pin::Pin;

use serde_json::{Map, Value};

use super::Parameters;
use crate::Result;
use crate::gpu::Buffer;
use crate::model::{Hooks, Module, Order};
use crate::tape::{Tape, Var};

/// The name of the tensor that methods with virtual tokens save.
pub(super) const ENCODED: &str = "prompt_embeddings";

/// What a method has learnt, and how that stands in PEFT's files.
pub trait AdapterFile {
    /// The trainable leaves, with their file names, in file order.
    fn params(&self) -> &Parameters;

    /// The method's part of `adapter_config.json`: `peft_type` and its own fields.
    fn config(&self) -> Map<String, Value>;

    /// What the adapter's file holds under `prompt_embeddings`, where that is not a parameter but what an encoder makes.
    fn encoded(&self, _t: &mut Tape) -> Option<(Var, Option<Order>)> {
        None
    }
}

/// Whether an adapter can be merged into the model, or weakened.
pub trait Mergeable {
    /// Whether a model with the adapter merged in has another weight for this layer: then [`Hooks::linears`] is linear in
    /// its input. The message is why there is no such model.
    ///
    /// # Errors
    /// Where what the method learns is no weight of the model.
    fn merges(&self, _layer: usize, _module: Module) -> Result<bool, &'static str> {
        Err("what it learns is no weight of the model")
    }

    /// Whether this tensor, by its file name, is weaker in a weaker adapter; the others are as they are. A tensor starts
    /// where the adapter changes nothing, and what the adapter adds grows with it in a line. The message is why the method
    /// has no strength but its own. See [`super::strength::load`].
    ///
    /// # Errors
    /// Where there is no adapter that changes nothing.
    fn scales(&self, _name: &str) -> Result<bool, &'static str> {
        Err("no value of what it learns changes nothing")
    }
}

/// What a method does between two steps.
pub type AfterStep<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// What a method does in a run beside taking its gradients; most do nothing.
pub trait Training {
    /// A run of so many steps begins.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the method cannot do with so many.
    fn begin(&self, _steps: usize) -> Result<()> {
        Ok(())
    }

    /// Records what is added to the gradients once a step, beside those of the loss; says whether there is anything.
    fn penalty(&self, _t: &mut Tape) -> bool {
        false
    }

    /// Called after the update of each step, from 0, while its gradients are still there; `state` holds their norm and
    /// the factor that clipped them.
    fn after_step<'a>(&'a self, _step: usize, _state: &'a Buffer) -> AfterStep<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What a checkpoint needs beside the parameters, laid out like them, each with the prefix of its names.
    fn state(&self) -> Vec<(&'static str, &[Buffer])> {
        Vec::new()
    }
}

/// A tuning method on one model: whatever does all four jobs is one.
pub trait Peft: AdapterFile + Hooks + Mergeable + Training {}

impl<T: AdapterFile + Hooks + Mergeable + Training> Peft for T {}
