//! The small models of every architecture: `architectures/NAME/`, made here from the hash of their tensors' names.

use std::collections::BTreeMap;

use serde::Deserialize;
use tunesmith::format::gguf::Value;
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::model::Order;

use super::hash::uniform;
use super::rows::permute_rows;
use crate::models::set_vocabulary;

/// What a model's file has: `model.json`.
#[derive(Deserialize)]
struct Description {
    architecture: String,
    numbers: BTreeMap<String, u32>,
    fractions: BTreeMap<String, f32>,
    texts: BTreeMap<String, String>,
    /// By how much the frequency of each rotary pair is divided, by the name of that tensor.
    rope_factors: BTreeMap<String, Vec<f32>>,
    /// By their names in the file.
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    /// In Hugging Face's tongue.
    name: String,
    shape: Vec<usize>,
    around: f32,
    amplitude: f32,
    /// Heads whose rotary pairs the file has side by side; none where they are as in Hugging Face's files.
    interleaved_heads: usize,
    /// Whether the file has its rows and columns the other way round.
    #[serde(default)]
    transposed: bool,
}

impl Tensor {
    /// As Hugging Face's files have it, of a model whose gains of norms are kept with this left out.
    fn plain(&self, offset: f32) -> Vec<f32> {
        let around = if self.name.contains("norm") { self.around - offset } else { self.around };
        let values = uniform(&self.name, self.shape.iter().product(), self.amplitude);
        values.into_iter().map(|value| around + value).collect()
    }

    fn values(&self) -> Vec<f32> {
        let values = uniform(&self.name, self.shape.iter().product(), self.amplitude);
        let values: Vec<f32> = values.into_iter().map(|value| self.around + value).collect();
        match self.interleaved_heads {
            0 if self.transposed => Order::Transposed(self.shape[1]).turn(&values, true),
            0 => values,
            heads => permute_rows(&values, heads, self.shape.get(1).copied().unwrap_or(1)),
        }
    }

    /// As the file has them, the fastest first.
    fn dims(&self) -> Vec<u64> {
        let mut dims: Vec<u64> = self.shape.iter().rev().map(|&size| size as u64).collect();
        if self.transposed {
            dims.reverse();
        }
        dims
    }
}

fn description(name: &str) -> Description {
    super::json(&format!("architectures/{name}/model.json"))
}

/// The tensors of a model as Hugging Face's files have them: name, shape and values.
pub fn tensors(name: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let model = description(name);
    let offset = if model.architecture.starts_with("gemma") { 1.0 } else { 0.0 };
    model.tensors.values().map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.plain(offset))).collect()
}

/// Its `config.json`.
pub fn config(name: &str) -> serde_json::Value {
    super::json(&format!("architectures/{name}/config.json"))
}

/// The model of this name, as a GGUF file to be changed.
pub fn file(name: &str) -> GgufWriter {
    let model = description(name);
    let mut file = GgufWriter::new(&model.architecture);
    let key = |name: &str| format!("{}.{name}", model.architecture);
    model.numbers.iter().for_each(|(name, &value)| file.set(&key(name), Value::U32(value)));
    model.fractions.iter().for_each(|(name, &value)| file.set(&key(name), Value::F32(value)));
    model.texts.iter().for_each(|(name, value)| file.set(&key(name), Value::String(value.clone())));
    set_vocabulary(&mut file);
    for (name, factors) in &model.rope_factors {
        file.tensor_f32(name, &[factors.len() as u64], factors);
    }
    for (name, tensor) in &model.tensors {
        file.tensor_f32(name, &tensor.dims(), &tensor.values());
    }
    file
}
