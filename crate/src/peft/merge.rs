//! A model with its adapter merged in, as a GGUF file of its own. The model on the device stays as it is.
//!
//! Merging has no formulas: a linear layer is what it makes of the unit vectors, and every method says on the tape what
//! its layers make of anything.

use std::collections::BTreeMap;

use super::Peft;
use crate::format::ggml::GgmlType;
use crate::format::gguf::{Gguf, TensorInfo, Value};
use crate::format::gguf_write::GgufWriter;
use crate::format::quant::quantize_f16;
use crate::model::{Group, Linears, Model, Module, Order, Site};
use crate::ops::Weight;
use crate::settings::field::choice;
use crate::tape::Tape;
use crate::{Error, Result};

/// Why a reward adapter has no merged model.
pub const NO_PLACE: &str = "a GGUF model has no place for a score head";

choice! {
    /// The encoding of the tensors that a merge changes; norms are always f32.
    OutType, "f32 or f16" {
        /// Exact.
        F32 = "f32",
        /// Half the size, rounded.
        F16 = "f16",
    }
}

impl OutType {
    fn ggml(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
        }
    }
}

/// Unit vectors that go through a layer at a time.
const ROWS: usize = 256;
/// Most bytes of the base file, and about as many values of a matrix, in memory at a time.
const CHUNK: usize = 8 << 20;

/// Where a tensor of the merged model comes from.
#[derive(Clone)]
enum Source<'a> {
    /// The base file, byte for byte.
    Base(&'a TensorInfo),
    /// A weight on the device, row after row; how its numbers lie there, where that is not as in the file; and what the file
    /// has more of each.
    Weight(&'a Weight, Option<Order>, f32),
    /// A linear layer with what the adapter adds.
    Linear(usize, Module),
    /// Its bias.
    Bias(usize, Module),
}

struct Tensor<'a> {
    name: &'a str,
    dims: Vec<u64>,
    ty: GgmlType,
    source: Source<'a>,
}

impl Tensor<'_> {
    fn bytes(&self) -> u64 {
        self.ty.byte_len(self.dims.iter().product()).expect("whole blocks, as in the base")
    }
}

/// The name of the head where it is not the embedding.
const OUTPUT: &str = "output.weight";

/// Whether a linear layer is another than in the file: by the adapter, or since the model was loaded in 4 bits, beside
/// which the adapter learnt.
fn changes(model: &Model, peft: &dyn Peft, layer: usize, module: Module) -> Result<bool, &'static str> {
    Ok(peft.merges(layer, module)? || model.load_in_4bit)
}

/// A merged model that is yet to be written.
pub struct Merge<'a> {
    model: &'a Model,
    gguf: &'a Gguf,
    peft: &'a dyn Peft,
    header: Vec<u8>,
    alignment: u64,
    tensors: Vec<Tensor<'a>>,
}

impl<'a> Merge<'a> {
    /// Plans the file: the metadata and the tensors of `gguf`, which is the file of `model`, but for what `peft` changes,
    /// which is encoded as `outtype`. The adapter is merged into the weights as they were loaded: where that was in 4 bits,
    /// all linear layers are what those stand for.
    ///
    /// # Errors
    /// [`Error::Adapter`] when the method has no merged model, with the reason.
    pub fn new(model: &'a Model, gguf: &'a Gguf, peft: &'a dyn Peft, outtype: OutType) -> Result<Self> {
        if peft.params().score().is_some() {
            return Err(Error::Adapter {
                file: peft.config()["peft_type"].as_str().unwrap_or_default().into(),
                what: format!("this adapter cannot be merged into the model: {NO_PLACE}"),
                help: "keep the adapter beside the model".into(),
            });
        }
        let mut linears = BTreeMap::new();
        for layer in 0..model.config.layers {
            for module in model.config.architecture.modules() {
                let changed = changes(model, peft, layer, module).map_err(|reason| Error::Adapter {
                    file: peft.config()["peft_type"].as_str().unwrap_or_default().into(),
                    what: format!("this adapter cannot be merged into the model: {reason}"),
                    help: "keep the adapter beside the model, or train one of another method, such as lora".into(),
                })?;
                if changed {
                    let name = |what: &str| format!("blk.{layer}.{}.{what}", module.gguf_name);
                    linears.insert(name("weight"), (outtype.ggml(), Source::Linear(layer, module)));
                    linears.insert(name("bias"), (GgmlType::F32, Source::Bias(layer, module)));
                }
            }
        }
        let mut weights: BTreeMap<&str, (&Weight, Option<Order>, f32)> = BTreeMap::from([
            ("token_embd.weight", (peft.embedding(model), None, 0.0)),
            (OUTPUT, (peft.head(model), None, 0.0)),
        ]);
        weights.extend(model.config.architecture.norms(model.config.layers).map(|norm| {
            let offset = model.config.architecture.gain_offset;
            let gain = (peft.gain(model, norm), model.config.norm_file_order(norm), offset);
            (model.norm(norm).gain.name.as_str(), gain)
        }));
        weights.extend(model.config.architecture.norms(model.config.layers).filter_map(|norm| {
            let own = model.norm(norm).bias.as_ref()?;
            Some((own.name.as_str(), (peft.norm_bias(model, norm)?, model.config.norm_file_order(norm), 0.0)))
        }));
        weights.extend(
            model.positions.iter().filter_map(|own| Some((own.name.as_str(), (peft.positions(model)?, None, 0.0)))),
        );
        weights.retain(|_, (weight, ..)| weight.trainable());
        let mut tensors: Vec<Tensor> = gguf
            .tensors()
            .iter()
            .map(|base| {
                let (name, dims) = (base.name.as_str(), base.dims.clone());
                match (linears.get(name), weights.get(name)) {
                    (Some((ty, source)), _) => Tensor { name, dims, ty: *ty, source: source.clone() },
                    (None, Some((weight, order, offset))) => {
                        let ty = if weight.rows == 1 { GgmlType::F32 } else { outtype.ggml() };
                        Tensor { name, dims, ty, source: Source::Weight(weight, order.clone(), *offset) }
                    }
                    (None, None) => Tensor { name, dims, ty: base.ty, source: Source::Base(base) },
                }
            })
            .collect();
        let (embedding, head) = (peft.embedding(model), peft.head(model));
        if model.output.is_none() && !std::ptr::eq(embedding, head) {
            // The head was the embedding, and one of the two is so no more.
            let base = gguf.tensor("token_embd.weight")?;
            let (dims, source) = (base.dims.clone(), Source::Base(base));
            tensors.push(match head.trainable() {
                true => Tensor { name: OUTPUT, dims, ty: outtype.ggml(), source: Source::Weight(head, None, 0.0) },
                false => Tensor { name: OUTPUT, dims, ty: base.ty, source },
            });
        }
        let mut writer = GgufWriter::new(model.config.architecture.name);
        for (key, value) in gguf.metadata() {
            writer.set(key, value.clone());
        }
        if let (Some(_), Some(number)) = (gguf.metadata().get(FILE_TYPE), file_type(&tensors)) {
            writer.set(FILE_TYPE, Value::U32(number));
        }
        tensors.iter().for_each(|tensor| writer.declare(tensor.name, &tensor.dims, tensor.ty));
        Ok(Self { model, gguf, peft, header: writer.header(), alignment: writer.alignment(), tensors })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        let tensors = self.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(self.alignment));
        self.header.len() as u64 + tensors.sum::<u64>()
    }

    /// Hands the file to `write`, piece after piece.
    ///
    /// # Errors
    /// [`Error::Adapter`] for a number that the encoding does not hold; those of the device, of the base file and of `write`.
    pub async fn write(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        write(&self.header)?;
        // Of a group's layers, matrices and biases that come later in the file.
        let mut merged: BTreeMap<(usize, Module), Merged> = BTreeMap::new();
        for tensor in &self.tensors {
            match &tensor.source {
                Source::Base(base) => self.gguf.read_tensor_chunks(base, CHUNK, |_, bytes| write(bytes))?,
                Source::Weight(weight, order, offset) => {
                    let rows = (CHUNK / 4 / weight.cols).max(1);
                    for first in (0..weight.rows).step_by(rows) {
                        let ids: Vec<u32> = (first..weight.rows.min(first + rows)).map(|row| row as u32).collect();
                        let values = self.model.rows(weight, &ids).await?;
                        let values: Vec<f32> = values.into_iter().map(|value| value + offset).collect();
                        let values = order.as_ref().map_or_else(|| values.clone(), |order| order.turn(&values, false));
                        write(&encoded(tensor, &values)?)?;
                    }
                }
                &Source::Linear(layer, module) | &Source::Bias(layer, module) => {
                    if !merged.contains_key(&(layer, module)) {
                        merged.extend(self.group(layer, module.group).await?);
                    }
                    let layer = merged.get_mut(&(layer, module)).expect("a layer of its group");
                    let of_matrix = matches!(tensor.source, Source::Linear(..));
                    let values = std::mem::take(if of_matrix { &mut layer.matrix } else { &mut layer.bias });
                    for values in values.chunks(CHUNK / 4) {
                        write(&encoded(tensor, values)?)?;
                    }
                }
            }
            let padding = tensor.bytes().next_multiple_of(self.alignment) - tensor.bytes();
            write(&vec![0; padding as usize])?;
        }
        Ok(())
    }

    /// The merged layers of a group that the adapter changes.
    async fn group(&self, layer: usize, group: Group) -> Result<Vec<((usize, Module), Merged)>> {
        let (context, config) = (&self.model.context, &self.model.config);
        let base = self.model.layers[layer].linears(group);
        let cols = base.weights[0].cols;
        let mut first = 0;
        let mut layers = Vec::new();
        for module in config.architecture.group(group) {
            let (rows, _) = config.shape(module);
            if changes(self.model, self.peft, layer, module).is_ok_and(|changed| changed) {
                layers.push((module, first, Merged { matrix: vec![0.0; rows * cols], bias: Vec::new() }));
            }
            first += rows;
        }
        let units = context.buffer("unit vectors", (ROWS * cols * 4) as u64)?;
        let out = context.buffer("merged weights", (ROWS * first * 4) as u64)?;
        let plan = |base: &Linears| {
            let mut t = Tape::new(context);
            let x = t.leaf(ROWS, cols, &units, None);
            let y = self.peft.linears(&mut t, Site { layer, group, counter: None }, x, base, None);
            t.keep(y, &out);
            t.finish(context)
        };
        // Each column of a matrix is what the layer makes of a unit vector.
        let without_bias = plan(&base.without_bias())?;
        for start in (0..cols).step_by(ROWS) {
            let count = ROWS.min(cols - start);
            let mut values = vec![0.0_f32; ROWS * cols];
            (0..count).for_each(|row| values[row * cols + start + row] = 1.0);
            context.write(&units, 0, &values);
            without_bias.run(0);
            let made: Vec<f32> = context.read(&out, 0, count * first).await?;
            for (_, column, layer) in &mut layers {
                let rows = layer.matrix.len() / cols;
                for (unit, made) in made.chunks(first).enumerate() {
                    let made = &made[*column..][..rows];
                    made.iter().enumerate().for_each(|(row, value)| layer.matrix[row * cols + start + unit] = *value);
                }
            }
        }
        // And its bias what it makes of nothing.
        if base.bias.is_some() {
            context.write(&units, 0, &vec![0.0_f32; ROWS * cols]);
            plan(base)?.run(0);
            let made: Vec<f32> = context.read(&out, 0, first).await?;
            for (_, column, layer) in &mut layers {
                layer.bias = made[*column..][..layer.matrix.len() / cols].to_vec();
            }
        }
        for (module, _, layer) in &mut layers {
            if let Some(order) = config.file_order(*module) {
                layer.matrix = order.turn(&layer.matrix, false);
                layer.bias = order.turn(&layer.bias, false);
            }
        }
        Ok(layers.into_iter().map(|(module, _, merged)| ((layer, module), merged)).collect())
    }
}

/// A linear layer with the adapter in it, in the order of its file.
struct Merged {
    /// `[out, in]`
    matrix: Vec<f32>,
    /// `[out]`; empty where it has none.
    bias: Vec<f32>,
}

/// Says, by ggml's number, in which encoding most of a file is.
const FILE_TYPE: &str = "general.file_type";

/// [`FILE_TYPE`] of a file that is mostly f32 or f16; none where most of it is as it was.
fn file_type(tensors: &[Tensor]) -> Option<u32> {
    let mut counts = BTreeMap::<u32, u64>::new();
    for tensor in tensors {
        *counts.entry(tensor.ty.number()).or_default() += tensor.dims.iter().product::<u64>();
    }
    let (ty, _) = counts.into_iter().max_by_key(|&(_, count)| count)?;
    // Of f32 and f16 alone, it is the number of the type itself.
    [GgmlType::F32, GgmlType::F16].iter().map(|ty| ty.number()).find(|&number| number == ty)
}

/// Values as a tensor has them.
fn encoded(tensor: &Tensor, values: &[f32]) -> Result<Vec<u8>> {
    let (largest, help) = match tensor.ty {
        GgmlType::F16 => (half::f16::MAX.to_f32(), "merge with outtype f32"),
        _ => (f32::MAX, "the training run diverged: train again with a lower learning_rate"),
    };
    // Not a number is in no range.
    if let Some(value) = values.iter().find(|value| !(-largest..=largest).contains(*value)) {
        return Err(Error::Adapter {
            file: tensor.name.into(),
            what: format!("a merged weight is {value}, which {} does not hold", tensor.ty),
            help: help.into(),
        });
    }
    Ok(if tensor.ty == GgmlType::F16 { quantize_f16(values) } else { bytemuck::cast_slice(values).to_vec() })
}
