//! The trainable tensors of a method, one after another in flat buffers.

use crate::Result;
use crate::gpu::{Buffer, Context};
use crate::model::Order;
use crate::model::random;
use crate::ops::{Parameter, Weight};

/// One trainable tensor.
pub struct NamedParam {
    /// Its name in the adapter file.
    pub name: String,
    /// Its shape in the file: of one dimension, or of two.
    pub shape: Vec<usize>,
    /// How it lies on the device, where that is not as in the file.
    pub order: Option<Order>,
    /// The tensor on the device: one row where it has one dimension.
    pub weight: Weight,
    /// The number of its buffer.
    pub(super) buffer: usize,
    /// The place of its first element there.
    pub(super) offset: usize,
}

impl NamedParam {
    /// Number of its elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether weight decay pulls at it.
    pub fn decays(&self) -> bool {
        decays(&self.name)
    }
}

/// Whether weight decay pulls at a tensor of this name: transformers' Trainer leaves biases and the gains of norms alone.
fn decays(name: &str) -> bool {
    let name = name.to_lowercase();
    // GPT-2 calls its norms ln_1, ln_2 and ln_f.
    let norm = |part: &str| part == "norm" || part.ends_with("_norm") || part.starts_with("ln_");
    !["bias", "layernorm", "rmsnorm"].iter().any(|word| name.contains(word)) && !name.split('.').any(norm)
}

/// All trainable tensors of a method, with their gradients.
pub struct Parameters {
    pub(super) context: Context,
    /// The values, flat; several buffers where one would be larger than a binding may be.
    pub values: Vec<Buffer>,
    /// The gradients, laid out like the values.
    pub grads: Vec<Buffer>,
    /// The tensors, in file order.
    pub tensors: Vec<NamedParam>,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere.
    Apart,
    /// In the same buffer as the tensor before it.
    Beside,
    /// Right behind the tensor before it, so that the two can be used as one matrix.
    Behind,
}

/// The values of a tensor, which are not made before there is room for them.
pub enum Start {
    /// All zeros.
    Zeros,
    /// Random numbers that the seed and the tensor's name choose, uniform within this bound.
    Uniform(u32, f32),
    /// These, in file order.
    Values(Vec<f32>),
}

/// What a tensor starts as.
pub struct Spec {
    /// Its name in the adapter file.
    pub name: String,
    /// See [`NamedParam::shape`].
    pub shape: Vec<usize>,
    /// See [`NamedParam::order`].
    pub order: Option<Order>,
    /// Its values.
    pub start: Start,
    /// Where it lies.
    pub place: Place,
}

impl Spec {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// A tensor that lies anywhere, in the file's order.
    pub fn new(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Self {
        Self { start: Start::Values(values), ..Self::zeros(name, shape) }
    }

    /// The same of zeros.
    pub fn zeros(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), order: None, start: Start::Zeros, place: Place::Apart }
    }

    /// The same of random numbers within a bound.
    pub fn uniform(seed: u32, name: impl Into<String>, shape: &[usize], bound: f32) -> Self {
        Self { start: Start::Uniform(seed, bound), ..Self::zeros(name, shape) }
    }
}

/// Bindings start at multiples of 256 bytes. So only tensors of one matrix share a block of [`crate::ops::DECAY_BLOCK`].
const ALIGNMENT: usize = 64;

impl Parameters {
    /// Allocates and fills the tensors.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] for tensors that must lie in one buffer and are larger than a binding together.
    pub fn new(context: &Context, specs: Vec<Spec>) -> Result<Self> {
        let limit = (context.binding_limit() / 4) as usize;
        let mut places = Vec::with_capacity(specs.len());
        let mut lens: Vec<usize> = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let aligned = |len: &usize| len.next_multiple_of(ALIGNMENT);
            if spec.place == Place::Apart {
                // Those that must lie beside it need room, too.
                let beside = specs[index + 1..].iter().take_while(|spec| spec.place != Place::Apart);
                let run: usize = std::iter::once(spec).chain(beside).map(|spec| aligned(&spec.count())).sum();
                if lens.last().is_none_or(|len| aligned(len) + run > limit) {
                    lens.push(0);
                }
            }
            if spec.place == Place::Behind {
                let before = &specs[index - 1].name;
                assert!(decays(before) == decays(&spec.name), "{before} and {} decay as one matrix", spec.name);
            }
            let buffer = lens.len() - 1;
            let offset = if spec.place == Place::Behind { lens[buffer] } else { aligned(&lens[buffer]) };
            places.push((buffer, offset));
            lens[buffer] = offset + spec.count();
        }
        let flat = |what| -> Result<Vec<Buffer>> {
            lens.iter().map(|len| context.buffer(what, len.next_multiple_of(ALIGNMENT) as u64 * 4)).collect()
        };
        let (values, grads) = (flat("trainable parameters")?, flat("gradients")?);
        let mut tensors = Vec::with_capacity(specs.len());
        let mut written = 0;
        for (Spec { name, shape, order, start, .. }, (buffer, offset)) in specs.into_iter().zip(places) {
            let count: usize = shape.iter().product();
            let start = match start {
                _ if context.is_rehearsal() => Vec::new(),
                Start::Zeros => Vec::new(),
                Start::Uniform(seed, bound) => random(seed, &name).map(|x| x * bound).take(count).collect(),
                Start::Values(values) => values,
            };
            assert!(start.is_empty() || start.len() == count, "{name}: as many values as its shape has");
            let cols = match order {
                Some(Order::Transposed(rows)) => count / rows,
                _ if shape.len() == 1 => shape[0],
                _ => shape[1..].iter().product(),
            };
            let parameter = Parameter { values: values[buffer].clone(), grads: grads[buffer].clone(), offset };
            let weight = Weight::trained(&name, count / cols, cols, parameter);
            let tensor = NamedParam { name, shape, order, weight, buffer, offset };
            if !start.is_empty() {
                write_tensor(context, &values, &tensor, &start);
            }
            tensors.push(tensor);
            // wgpu keeps what was written in staging memory until something is submitted.
            written += start.len();
            if written > STAGING {
                context.flush();
                written = 0;
            }
        }
        context.flush();
        Ok(Self { context: context.clone(), values, grads, tensors })
    }

    /// More zeros, laid out like the values.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn like(&self, what: &str) -> Result<Vec<Buffer>> {
        self.values.iter().map(|buffer| self.context.buffer(what, buffer.size())).collect()
    }

    /// Bytes of the values, and of anything laid out like them.
    pub fn bytes(&self) -> u64 {
        self.values.iter().map(Buffer::size).sum()
    }

    /// Some tensors that lie right behind each other, of one width, as one matrix.
    pub fn stack(&self, tensors: std::ops::Range<usize>) -> Weight {
        let first = &self.tensors[tensors.start];
        let rows = self.tensors[tensors].iter().map(|tensor| tensor.weight.rows).sum();
        let (values, grads) = (self.values[first.buffer].clone(), self.grads[first.buffer].clone());
        Weight::trained(&first.name, rows, first.weight.cols, Parameter { values, grads, offset: first.offset })
    }

    /// The tensor of this name, on the device.
    ///
    /// # Panics
    /// When there is none.
    pub fn weight(&self, name: &str) -> &Weight {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name);
        &tensor.unwrap_or_else(|| panic!("{name} is a parameter")).weight
    }

    /// Number of trainable parameters.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(NamedParam::count).sum()
    }

    /// Buffer, first element in it, and length of each tensor.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.tensors.iter().map(|tensor| (tensor.buffer, tensor.offset, tensor.count()))
    }

    /// Every tensor's values in the file's order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read(&self) -> Result<Vec<Vec<f32>>> {
        self.read_from(&self.values).await
    }

    /// Every tensor's gradient in the file's order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read_grads(&self) -> Result<Vec<Vec<f32>>> {
        self.read_from(&self.grads).await
    }

    /// Every tensor's part of buffers that are laid out like the values, in the file's order.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn read_from(&self, buffers: &[Buffer]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(self.tensors.len());
        for (index, buffer) in buffers.iter().enumerate() {
            let flat: Vec<f32> = self.context.read(buffer, 0, (buffer.size() / 4) as usize).await?;
            for tensor in self.tensors.iter().filter(|tensor| tensor.buffer == index) {
                let values = &flat[tensor.offset..][..tensor.count()];
                all.push(tensor.order.as_ref().map_or_else(|| values.to_vec(), |order| order.turn(values, false)));
            }
        }
        Ok(all)
    }

    /// Replaces one tensor's values, given in the file's order.
    pub fn write(&self, index: usize, values: &[f32]) {
        self.write_to(&self.values, index, values);
    }

    /// Replaces one tensor's part of buffers that are laid out like the values, given in the file's order.
    pub fn write_to(&self, buffers: &[Buffer], index: usize, values: &[f32]) {
        write_tensor(&self.context, buffers, &self.tensors[index], values);
    }
}

/// Values that are in staging memory at a time, at most.
const STAGING: usize = 2 << 20;

fn write_tensor(context: &Context, buffers: &[Buffer], tensor: &NamedParam, values: &[f32]) {
    let (buffer, at) = (&buffers[tensor.buffer], tensor.offset as u64 * 4);
    match &tensor.order {
        Some(order) => context.write(buffer, at, &order.turn(values, true)),
        None => context.write(buffer, at, values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_and_norms_do_not_decay() {
        for (name, expected) in [
            ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", true),
            ("base_model.model.model.layers.0.self_attn.k_proj.ia3_l", true),
            ("base_model.model.lm_head.weight", true),
            ("model.normal.weight", true),
            ("model.norm_head.weight", true),
            ("model.layers.0.self_attn.q_proj.bias", false),
            ("lstm_head.bias_ih_l0_reverse", false),
            ("model.layers.0.input_layernorm.weight", false),
            ("base_model.model.model.layers.0.post_attention_layernorm.ln_tuning_layers.weight", false),
            ("model.norm.weight", false),
            ("norm", false),
            ("model.layers.0.self_attn.q_norm.weight", false),
            ("transformer.h.0.ln_1.weight", false),
            ("transformer.h.0.attn.c_attn.weight", true),
            ("model.LayerNorm.weight", false),
            ("model.rmsnorm.weight", false),
        ] {
            assert_eq!(decays(name), expected, "{name}");
        }
    }
}
