//! Tuning methods: each overrides hooks of the forward pass and writes no derivative of its own.

mod adalora;
mod bitfit;
mod bottleneck;
mod full;
mod houlsby;
mod ia3;
pub mod io;
mod ln_tuning;
mod lora;
pub mod merge;
mod method;
mod p_tuning;
mod parameters;
mod prefix;
mod prompt;
mod saved;
pub mod strength;
mod unipelt;

use std::pin::Pin;

use serde_json::{Map, Value};

use parameters::Spec;

pub use method::create;
pub use parameters::{NamedParam, Order, Parameters};

use crate::Result;
use crate::gpu::Buffer;
use crate::model::{Group, Model, Module, Norm};
use crate::ops::Weight;
use crate::settings::config::RunConfig;
use crate::tape::{Tape, Var};

/// A place in the forward pass that a method may change.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The block, from 0.
    pub layer: usize,
    /// The linear layers in it.
    pub group: Group,
    /// The counter of dropout while training; `None` switches dropout off.
    pub counter: Option<&'a Buffer>,
}

impl Site<'_> {
    /// The Hugging Face path: `model.layers.3.self_attn.q_proj`.
    pub fn path(layer: usize, module: Module) -> String {
        format!("model.layers.{layer}.{}", module.path())
    }
}

/// What a method does between two steps.
pub type AfterStep<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A tuning method on one model.
pub trait Peft {
    /// The trainable leaves, with their file names, in file order.
    fn params(&self) -> &Parameters;

    /// The method's part of `adapter_config.json`: `peft_type` and its own fields.
    fn config(&self) -> Map<String, Value>;

    /// Virtual tokens before each example, whose ids go on behind the vocabulary.
    fn virtual_tokens(&self) -> usize {
        0
    }

    /// Rows `[n, C]` that stand in for the embeddings of the virtual tokens.
    fn prompt(&self, _t: &mut Tape) -> Option<Var> {
        None
    }

    /// Trained keys and values of the virtual tokens, `[n, 2 K D]` for each block: keys, not turned any more, then values.
    fn prefixes(&self, _t: &mut Tape) -> Vec<Var> {
        Vec::new()
    }

    /// What the adapter's file holds under `prompt_embeddings`, where that is not a parameter but what an encoder makes.
    fn encoded(&self, _t: &mut Tape) -> Option<(Var, Option<Order>)> {
        None
    }

    /// The first block that it changes: whatever lies below is the model's alone, and takes no gradient.
    fn first_layer(&self) -> usize {
        0
    }

    /// Records what is added to the gradients once a step, beside those of the loss; says whether there is anything.
    fn penalty(&self, _t: &mut Tape) -> bool {
        false
    }

    /// A run of so many steps begins.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the method cannot do with so many.
    fn begin(&self, _steps: usize) -> Result<()> {
        Ok(())
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

    /// What the linear layers of a group compute, side by side, and added to `residual`.
    fn linears(&self, t: &mut Tape, _site: Site, x: Var, weights: &[Weight], residual: Option<Var>) -> Var {
        t.linears(x, weights, None, residual)
    }

    /// Whether this tensor, by its file name, is weaker in a weaker adapter; the others are as they are. A tensor starts
    /// where the adapter changes nothing, and what the adapter adds grows with it in a line. The message is why the method
    /// has no strength but its own. See [`strength::load`].
    ///
    /// # Errors
    /// Where there is no adapter that changes nothing.
    fn scales(&self, _name: &str) -> Result<bool, &'static str> {
        Err("no value of what it learns changes nothing")
    }

    /// Whether a model with the adapter merged in has another weight for this layer: then [`Peft::linears`] is linear in
    /// its input. The message is why there is no such model.
    ///
    /// # Errors
    /// Where what the method learns is no weight of the model.
    fn merges(&self, _layer: usize, _module: Module) -> Result<bool, &'static str> {
        Err("what it learns is no weight of the model")
    }

    /// The table of token embeddings `[V, C]`.
    fn embedding<'a>(&'a self, model: &'a Model) -> &'a Weight {
        &model.embedding
    }

    /// The language-model head `[V, C]`.
    fn head<'a>(&'a self, model: &'a Model) -> &'a Weight {
        model.head()
    }

    /// The gain of a norm, `[1, C]`.
    fn gain<'a>(&'a self, model: &'a Model, norm: Norm) -> &'a Weight {
        model.norm_gain(norm)
    }

    /// What a norm of this gain makes of `x`.
    fn norm(&self, t: &mut Tape, _norm: Norm, x: Var, gain: &Weight, eps: f32) -> Var {
        t.rms_norm(x, gain, eps)
    }
}

/// How a method is made, and read from a file.
trait Tuning: Peft + Sized + 'static {
    /// `peft_type` in `adapter_config.json`.
    const PEFT_TYPE: &'static str;

    /// Whether Hugging Face's PEFT has the method, and so reads its files.
    const IN_PEFT: bool = true;

    /// The fields of a run that `adapter_config.json` holds under the same names.
    const FIELDS: &'static [&'static str];

    /// A fresh adapter for `model` as `config` says; the same seed makes the same one.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the method's fields do not fit the model.
    async fn create(model: &Model, config: &RunConfig) -> Result<Self>;

    /// What else of `adapter_config.json` becomes fields of a run; the message of what is missing or unknown.
    fn read(_file: &Map<String, Value>, _run: &mut Map<String, Value>) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// A linear layer of a small network, as PyTorch starts it: `NAME.weight` `[rows, cols]` and `NAME.bias` `[rows]`, both
/// uniform within 1/sqrt(cols).
fn dense_specs(seed: u32, name: &str, rows: usize, cols: usize, order: Option<&Order>) -> [Spec; 2] {
    let bound = 1.0 / (cols as f32).sqrt();
    let spec = |what: &str, shape: &[usize]| {
        let name = format!("{name}.{what}");
        let values = random(seed, &name).map(|x| x * bound).take(shape.iter().product()).collect();
        Spec { order: order.cloned(), ..Spec::new(name, shape, values) }
    };
    [spec("weight", &[rows, cols]), spec("bias", &[rows])]
}

/// What that layer makes of `x`.
fn dense(t: &mut Tape, params: &Parameters, name: &str, x: Var) -> Var {
    let y = t.linear(x, params.weight(&format!("{name}.weight")));
    t.bias(y, 0, params.weight(&format!("{name}.bias")))
}

/// Uniform random numbers in [-1, 1) that depend on the seed, the tensor's name and the index alone.
fn random(seed: u32, name: &str) -> impl Iterator<Item = f32> {
    // FNV-1a of the name picks the stream, SplitMix64 walks it.
    let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ u64::from(seed), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (1_u64..).map(move |i| {
        let mut x = stream.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        ((x >> 40) as i64 - (1 << 23)) as f32 / (1 << 23) as f32
    })
}
