//! The weights of a model, uploaded from a GGUF file in small pieces.

use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3;

use super::config::PREFILL;
use super::in_4bit::{Upload, check_in_4bit};
use super::{Group, ModelConfig, Norm};
use crate::Result;
use crate::format::encoding::Encoding;
use crate::format::gguf::{Gguf, TensorInfo};
use crate::format::quant::pack;
use crate::gpu::Context;
use crate::ops::{RopeTable, Weight};
use crate::tape::Tape;
use crate::text::template::ChatTemplate;
use crate::text::tokenizer::Tokenizer;

/// Most bytes of the file in memory at a time.
const CHUNK: usize = 8 << 20;

/// The frozen weights of one block.
#[derive(Clone)]
pub struct Layer {
    /// The gains of its norms, `[1, C]` each, in the order of the forward pass.
    norms: Vec<Weight>,
    linears: [Vec<Weight>; 4],
}

impl Layer {
    /// The weights of a group: one matrix, its layers below each other, or, where their encodings differ or one binding
    /// would not hold it, a matrix each.
    pub fn linears(&self, group: Group) -> &[Weight] {
        &self.linears[group as usize]
    }
}

/// A model on the device, with what turns text into its tokens. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    /// The device it is on.
    pub context: Context,
    /// Its shape.
    pub config: ModelConfig,
    /// Token embeddings `[V, C]`.
    pub embedding: Weight,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// Gain of the last norm, `[1, C]`.
    pub norm: Weight,
    /// The language-model head `[V, C]`; `None` when it is the embedding.
    pub output: Option<Weight>,
    /// Rotary table of every position.
    pub rope: RopeTable,
    /// Its tokenizer.
    pub tokenizer: Rc<Tokenizer>,
    /// Its chat template; `None` for a model without one.
    pub template: Option<Rc<ChatTemplate>>,
    /// The source of the chat template in the file; `None` when the file has none.
    pub template_source: Option<String>,
    /// Size of the file it came from.
    pub file_bytes: u64,
    /// Name of the file it came from, without the folders on the way: it goes into model cards, and the folders are
    /// nobody's business.
    pub file: String,
    /// The encoding that most of its parameters have in the file.
    pub quantization: String,
    /// Whether the linear layers of its blocks were quantized to NF4 when it was loaded.
    pub load_in_4bit: bool,
    /// Number of its parameters.
    pub parameters: u64,
    /// XXH3 of the file's weights: two models of one shape and other weights differ in it.
    pub hash: String,
}

impl Model {
    /// Uploads a model as it is in its file. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// As the reader's, the tokenizer's and [`ModelConfig::from_gguf`]'s; [`crate::Error::Limit`] for a tensor larger than one
    /// binding.
    pub async fn load(context: &Context, gguf: &Gguf, progress: impl FnMut(u64, u64)) -> Result<Self> {
        Self::load_as(context, gguf, false, progress).await
    }

    /// Uploads a model; with `load_in_4bit` the linear layers of its blocks, which must be F16, BF16 or F32 in the file, are
    /// quantized to NF4 on the way.
    ///
    /// # Errors
    /// As [`Model::load`]; [`crate::Error::Config`] for layers that cannot be quantized, by name.
    pub async fn load_as(
        context: &Context,
        gguf: &Gguf,
        load_in_4bit: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let config = ModelConfig::from_gguf(gguf)?;
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        if tokenizer.vocab_size() > config.vocab {
            return Err(gguf.invalid(format!(
                "the tokenizer has {} tokens and token_embd.weight has {} rows",
                tokenizer.vocab_size(),
                config.vocab
            )));
        }
        let template_source = gguf.get::<&str>("tokenizer.chat_template")?.map(str::to_owned);
        let has_template = template_source.is_some() || tokenizer.id("<|im_start|>").is_some();
        let template = if has_template { Some(ChatTemplate::from_gguf(gguf, &tokenizer)?) } else { None };
        let total = gguf.tensors().iter().map(|tensor| tensor.bytes).sum();
        let mut loader =
            Loader { context, gguf, load_in_4bit, done: 0, total, progress: &mut progress, hash: Xxh3::new() };
        let c = config.hidden;
        let embedding = loader.weight("token_embd.weight", config.vocab, c).await?;
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut linears = Vec::with_capacity(4);
            for group in Group::ALL {
                linears.push(loader.group(layer, group, &config).await?);
            }
            let mut norms = Vec::new();
            for norm in config.architecture.norms {
                norms.push(loader.norm(&format!("blk.{layer}.{}.weight", norm.gguf_name), c).await?);
            }
            layers.push(Layer { norms, linears: linears.try_into().ok().expect("four groups") });
        }
        let norm = loader.norm("output_norm.weight", c).await?;
        let output = match gguf.find_tensor("output.weight") {
            Some(_) => Some(loader.weight("output.weight", config.vocab, c).await?),
            None => None,
        };
        // Generation fills its last pass up with rows behind the context.
        let positions = config.context_length + PREFILL;
        let rope = RopeTable::new(context, positions, config.head_dim, config.rope_base)?;
        context.wait().await?;
        let hash = format!("{:032x}", loader.hash.digest128());
        Ok(Self {
            context: context.clone(),
            embedding,
            layers,
            norm,
            output,
            rope,
            tokenizer: Rc::new(tokenizer),
            template: template.map(Rc::new),
            template_source,
            file_bytes: gguf.file_len(),
            file: super::config::file_name(gguf.name()).into(),
            quantization: quantization(gguf),
            load_in_4bit,
            parameters: gguf.tensors().iter().map(|tensor| tensor.elements()).sum(),
            hash,
            config,
        })
    }

    /// The same model where nothing exists: see [`Context::rehearsal`].
    pub fn rehearsal(&self) -> Self {
        Self { context: self.context.rehearsal(), ..self.clone() }
    }

    /// The gain of a norm, `[1, C]`.
    pub fn norm_gain(&self, norm: Norm) -> &Weight {
        match norm {
            Norm::Block(layer, place) => &self.layers[layer].norms[self.config.architecture.place(place)],
            Norm::Last => &self.norm,
        }
    }

    /// The language-model head `[V, C]`.
    pub fn head(&self) -> &Weight {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes on the device: the weights and the rotary table.
    pub fn gpu_bytes(&self) -> u64 {
        let layers: u64 = self
            .layers
            .iter()
            .flat_map(|layer| layer.linears.iter().flatten().chain(&layer.norms))
            .map(Weight::bytes)
            .sum();
        self.embedding.bytes()
            + layers
            + self.norm.bytes()
            + self.output.as_ref().map_or(0, Weight::bytes)
            + self.rope.bytes()
    }
}

/// The type that holds most of the file's parameters.
fn quantization(gguf: &Gguf) -> String {
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for tensor in gguf.tensors() {
        *counts.entry(tensor.ty.name()).or_default() += tensor.elements();
    }
    counts.into_iter().max_by_key(|&(_, count)| count).map_or_else(String::new, |(name, _)| name.to_owned())
}

struct Loader<'a> {
    context: &'a Context,
    gguf: &'a Gguf,
    load_in_4bit: bool,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
    /// Of all that was read so far.
    hash: Xxh3,
}

/// A tensor of the file that was found to be what it should.
struct Part<'a> {
    tensor: &'a TensorInfo,
    encoding: Encoding,
    rows: usize,
    cols: usize,
}

impl Part<'_> {
    fn elements(&self) -> u64 {
        (self.rows * self.cols) as u64
    }

    /// The same to be quantized to NF4.
    fn in_4bit(self) -> Result<Self> {
        check_in_4bit(self.tensor)?;
        Ok(Self { encoding: Encoding::Nf4, ..self })
    }
}

impl<'a> Loader<'a> {
    async fn norm(&mut self, name: &str, channels: usize) -> Result<Weight> {
        let tensor = self.gguf.tensor(name)?;
        if self.gguf.encoding(tensor)? != Encoding::F32 {
            return Err(self.gguf.invalid(format!("{name} is {}, expected F32", tensor.ty.name())));
        }
        self.weight(name, 1, channels).await
    }

    /// The weights of one group: see [`Layer::linears`].
    async fn group(&mut self, layer: usize, group: Group, config: &ModelConfig) -> Result<Vec<Weight>> {
        let mut parts = Vec::new();
        for module in config.architecture.group(group) {
            let name = format!("blk.{layer}.{}", module.gguf_name);
            if self.gguf.find_tensor(&format!("{name}.bias")).is_some() {
                return Err(self.gguf.unsupported(&format!("a bias ({name}.bias)")));
            }
            let (rows, cols) = config.shape(module);
            let part = self.part(&format!("{name}.weight"), rows, cols)?;
            parts.push(if self.load_in_4bit { part.in_4bit()? } else { part });
        }
        let encoding = parts[0].encoding;
        let bytes: u64 = parts.iter().map(|part| encoding.codes_bytes(part.elements())).sum();
        let whole = |part: &Part| part.elements().is_multiple_of(encoding.joint());
        let joined = parts.iter().all(|part| part.encoding == encoding)
            && parts[..parts.len() - 1].iter().all(whole)
            && bytes <= self.context.binding_limit();
        let mut weights = Vec::new();
        for parts in if joined { vec![parts] } else { parts.into_iter().map(|part| vec![part]).collect() } {
            weights.push(self.upload(&parts).await?);
        }
        Ok(weights)
    }

    async fn weight(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight> {
        let part = self.part(name, rows, cols)?;
        self.upload(&[part]).await
    }

    /// Finds and checks one tensor.
    fn part(&self, name: &str, rows: usize, cols: usize) -> Result<Part<'a>> {
        let tensor = self.gguf.tensor(name)?;
        let expected: &[u64] = if rows == 1 { &[cols as u64] } else { &[cols as u64, rows as u64] };
        if tensor.dims != expected {
            return Err(self.gguf.invalid(format!("{name} has shape {:?}, expected {expected:?}", tensor.dims)));
        }
        let encoding = self.gguf.encoding(tensor)?;
        if encoding == Encoding::F16 && !cols.is_multiple_of(4) {
            return Err(self.gguf.invalid(format!("{name}: rows of {cols} f16 numbers, expected a multiple of 4")));
        }
        Ok(Part { tensor, encoding, rows, cols })
    }

    /// Uploads tensors of one encoding and one width as one matrix, below each other.
    async fn upload(&mut self, parts: &[Part<'_>]) -> Result<Weight> {
        let Part { tensor, encoding, cols, .. } = parts[0];
        let name = tensor.name.as_str();
        let elements: u64 = parts.iter().map(Part::elements).sum();
        let codes = self.context.buffer(name, encoding.codes_bytes(elements))?;
        let scales = match encoding.scales_bytes(elements) {
            0 => None,
            bytes => Some(self.context.buffer(name, bytes)?),
        };
        let context = self.context;
        let mut pending = 0u64;
        let mut before = 0u64;
        let parts_to_write = if context.is_rehearsal() { &[][..] } else { parts };
        for Part { tensor, .. } in parts_to_write {
            let mut in_4bit = Upload::new(self.gguf.name(), tensor, &codes, encoding.codes_bytes(before));
            self.hash.update(tensor.name.as_bytes());
            self.gguf.read_tensor_chunks(tensor, CHUNK, |first, bytes| {
                self.hash.update(bytes);
                let packed = pack(tensor.ty, bytes)?;
                if let Some(at) = packed.not_finite() {
                    let place = first + at as u64;
                    let what = format!("{} holds something that is no finite number, in place {place}", tensor.name);
                    return Err(self.gguf.invalid(what));
                }
                if encoding == Encoding::Nf4 {
                    in_4bit.write(context, bytes)?;
                } else {
                    context.write(&codes, encoding.codes_bytes(before + first), &packed.codes);
                    if let Some(scales) = &scales {
                        context.write(scales, encoding.scales_bytes(before + first), &packed.scales);
                    }
                }
                // wgpu keeps what was written in staging memory until something is submitted.
                context.flush();
                self.done += bytes.len() as u64;
                pending += bytes.len() as u64;
                (self.progress)(self.done, self.total);
                context.check()
            })?;
            if let (Encoding::Nf4, Some(scales)) = (encoding, &scales) {
                in_4bit.finish(context, scales, encoding.scales_bytes(before));
            }
            before += tensor.elements();
        }
        if pending >= CHUNK as u64 / 2 {
            // Lets the staging memory of a large tensor go before the next one fills more.
            context.wait().await?;
        }
        let rows = parts.iter().map(|part| part.rows).sum();
        Ok(Weight::frozen(name, rows, cols, encoding, codes, scales))
    }
}

impl Model {
    /// The embeddings of some tokens, row after row, as f32.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn embeddings(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.rows(&self.embedding, ids).await
    }

    /// Some rows of a weight in any encoding, one after another, as f32.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn rows(&self, weight: &Weight, rows: &[u32]) -> Result<Vec<f32>> {
        let count = rows.len() * weight.cols;
        let ids = self.context.buffer_with("rows", rows)?;
        let out = self.context.buffer("rows", count as u64 * 4)?;
        let mut t = Tape::new(&self.context);
        let y = t.embed(rows.len(), &ids, weight, None);
        let copy = t.leaf(rows.len(), weight.cols, &out, None);
        t.copy(y, copy);
        t.finish(&self.context)?.run(0);
        self.context.read(&out, 0, count).await
    }
}
