//! Tuning methods: each overrides hooks of the forward pass and writes no derivative of its own.

pub mod io;
mod lora;
mod parameters;
mod prompt;

use serde_json::{Map, Value};

pub use lora::Lora;
pub use parameters::{NamedParam, Parameters};
pub use prompt::Prompt;

use crate::Result;
use crate::gpu::Buffer;
use crate::model::{Group, Model, Module, Weight};
use crate::tape::{Tape, Var};
use crate::train::config::{Method, RunConfig};

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

/// A tuning method on one model.
pub trait Peft {
    /// The trainable leaves, with their file names, in file order.
    fn params(&self) -> &Parameters;

    /// The method's part of `adapter_config.json`: `peft_type` and its own fields.
    fn config(&self) -> Map<String, Value>;

    /// Virtual tokens before each example: rows `[n, C]` that stand in for embeddings.
    fn prompt(&self) -> Option<&Weight> {
        None
    }

    /// The first block that it changes: whatever lies below is the model's alone, and takes no gradient.
    fn first_layer(&self) -> usize {
        0
    }

    /// What the linear layers of a group compute, side by side, and added to `residual`.
    fn linears(&self, t: &mut Tape, _site: Site, x: Var, weights: &[Weight], residual: Option<Var>) -> Var {
        t.linears(x, weights, None, residual)
    }
}

/// Makes a fresh adapter for `model` as `config` says; the same seed makes the same one.
///
/// # Errors
/// [`crate::Error::Config`] when the method's fields do not fit the model.
pub async fn create(model: &Model, config: &RunConfig) -> Result<Box<dyn Peft>> {
    Ok(match config.method {
        Method::Lora => Box::new(Lora::new(model, config)?),
        Method::Prompt => Box::new(Prompt::new(model, config).await?),
    })
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
