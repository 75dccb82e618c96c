//! The weights of a model, uploaded from a GGUF file in small pieces.

use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3;

use super::config::PREFILL;
use super::in_4bit::{Upload, check_in_4bit};
use super::{Group, Linears, ModelConfig, Module, Norm, Order, Rotary};
use crate::Result;
use crate::format::encoding::Encoding;
use crate::format::gguf::{Gguf, TensorInfo};
use crate::format::quant::{dequantize, pack};
use crate::gpu::Context;
use crate::ops::{Piece, RopeTable, Targets, Weight};
use crate::tape::Tape;
use crate::text::template::ChatTemplate;
use crate::text::tokenizer::Tokenizer;

/// Most bytes of the file in memory at a time.
const CHUNK: usize = 8 << 20;

/// The frozen weights of a norm, `[1, C]` each.
#[derive(Clone)]
pub struct NormWeights {
    /// What is multiplied with.
    pub gain: Weight,
    /// What is added then, where the architecture has that.
    pub bias: Option<Weight>,
}

impl NormWeights {
    fn all(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(&self.gain).chain(&self.bias)
    }
}

/// The frozen weights of one block.
#[derive(Clone)]
pub struct Layer {
    /// Its norms, in the order of the forward pass.
    norms: Vec<NormWeights>,
    linears: [Linears; 4],
}

impl Layer {
    /// The linear layers of a group.
    pub fn linears(&self, group: Group) -> &Linears {
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
    /// What is added to them by a token's position, `[positions, C]`, where it is learned.
    pub positions: Option<Weight>,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// The last norm.
    last_norm: NormWeights,
    /// The language-model head `[V, C]`; `None` when it is the embedding.
    pub output: Option<Weight>,
    /// Rotary table of every position, where positions turn anything.
    rope: Option<RopeTable>,
    /// The same for local blocks, where they have rotations of their own.
    local_rope: Option<RopeTable>,
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
        let mut config = ModelConfig::from_gguf(gguf)?;
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
        let mut loader = Loader {
            context,
            gguf,
            head_dim: config.head_dim,
            load_in_4bit,
            done: 0,
            total,
            progress: &mut progress,
            hash: Xxh3::new(),
        };
        let c = config.hidden;
        let embedding = loader.weight("token_embd.weight", config.vocab, c).await?;
        let positions = match config.has_rotations() {
            true => None,
            false => Some(loader.positions(&mut config).await?),
        };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut linears = Vec::with_capacity(4);
            for group in Group::ALL {
                linears.push(loader.group(layer, group, &config).await?);
            }
            let mut norms = Vec::new();
            for own in config.architecture.norms {
                let norm = Norm::Block(layer, own.place);
                let name = format!("blk.{layer}.{}", own.gguf_name);
                norms.push(loader.norm(&name, norm, &config).await?);
            }
            layers.push(Layer { norms, linears: linears.try_into().ok().expect("four groups") });
        }
        let last_norm = loader.norm("output_norm", Norm::Last, &config).await?;
        let output = match gguf.find_tensor("output.weight") {
            Some(_) => Some(loader.weight("output.weight", config.vocab, c).await?),
            None => None,
        };
        // Generation fills its last pass up with rows behind the context.
        let rows = config.context_length + PREFILL;
        let table =
            |rotary: &Rotary| RopeTable::new(context, rows, &rotary.frequencies(config.head_dim), rotary.magnitude());
        let rope = config.has_rotations().then(|| table(&config.rotary)).transpose()?;
        let of_local = config.local.as_ref().and_then(|local| local.rotary.as_ref());
        let local_rope = of_local.map(table).transpose()?;
        context.wait().await?;
        let hash = format!("{:032x}", loader.hash.digest128());
        Ok(Self {
            context: context.clone(),
            embedding,
            positions,
            layers,
            last_norm,
            output,
            rope,
            local_rope,
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

    /// What a head of this model predicts in a batch: see [`Targets::new`].
    ///
    /// # Errors
    /// As [`Targets::new`].
    pub fn targets(&self, context: &Context, capacity: usize) -> Result<Targets> {
        Ok(Targets::new(context, capacity, self.config.vocab)?.capped(self.config.logit_cap))
    }

    /// By what a block turns queries and keys; `None` where it turns none.
    pub fn rotations(&self, layer: usize) -> Option<&RopeTable> {
        let local = self.local_rope.as_ref().filter(|_| self.config.turns_locally(layer));
        local.or(self.rope.as_ref()).filter(|_| self.config.turns(layer))
    }

    /// The weights of a norm.
    pub fn norm(&self, norm: Norm) -> &NormWeights {
        match norm {
            Norm::Block(layer, place) => &self.layers[layer].norms[self.config.architecture.place(place)],
            Norm::Last => &self.last_norm,
        }
    }

    /// The bias of a linear layer, in the order of Hugging Face's files; `None` where the architecture has none there.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn bias(&self, layer: usize, module: Module) -> Result<Option<Vec<f32>>> {
        let Some(bias) = self.layers[layer].linears(module.group).bias.as_ref().filter(|_| module.bias) else {
            return Ok(None);
        };
        let before = self.config.architecture.group(module.group).take_while(|before| *before != module);
        let first: usize = before.map(|before| self.config.shape(before).0).sum();
        let side_by_side = self.rows(bias, &[0]).await?;
        let own = &side_by_side[first..][..self.config.shape(module).0];
        Ok(Some(self.config.order(module).map_or_else(|| own.to_vec(), |order| order.turn(own, false))))
    }

    /// The language-model head `[V, C]`.
    pub fn head(&self) -> &Weight {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes on the device: the weights and the rotary tables.
    pub fn gpu_bytes(&self) -> u64 {
        let linears = self.layers.iter().flat_map(|layer| &layer.linears).flat_map(Linears::all);
        let norms =
            self.layers.iter().flat_map(|layer| &layer.norms).chain([&self.last_norm]).flat_map(NormWeights::all);
        let others = std::iter::once(&self.embedding).chain(&self.positions).chain(&self.output);
        let tables = [&self.rope, &self.local_rope].into_iter().flatten();
        linears.chain(norms).chain(others).map(Weight::bytes).sum::<u64>() + tables.map(RopeTable::bytes).sum::<u64>()
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

/// What is wrong with a tensor that is not all numbers.
fn not_finite(name: &str, place: u64) -> String {
    format!("{name} holds something that is no finite number, in place {place}")
}

struct Loader<'a> {
    context: &'a Context,
    gguf: &'a Gguf,
    /// D: rows of a head.
    head_dim: usize,
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
    /// How its rows lie on the device, where that is not as in the file.
    order: Option<Order>,
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
    /// The table of positions; the context is no longer than that.
    async fn positions(&mut self, config: &mut ModelConfig) -> Result<Weight> {
        let name = "position_embd.weight";
        let rows = self.gguf.tensor(name)?.dims.get(1).map_or(0, |&rows| rows as usize);
        config.context_length = config.context_length.min(rows);
        self.weight(name, rows, config.hidden).await
    }

    /// A norm, in the order of the device and as Hugging Face's files have it.
    async fn norm(&mut self, name: &str, norm: Norm, config: &ModelConfig) -> Result<NormWeights> {
        let gain = self.gain(&format!("{name}.weight"), norm, config).await?;
        let bias = match config.architecture.layer_norm {
            true => {
                let part = self.part(&format!("{name}.bias"), 1, config.norm_width(norm))?;
                Some(self.vector(part).await?)
            }
            false => None,
        };
        Ok(NormWeights { gain, bias })
    }

    /// A vector as it is in the file, which must be f32.
    async fn vector(&mut self, part: Part<'_>) -> Result<Weight> {
        if part.encoding != Encoding::F32 {
            return Err(self.gguf.invalid(format!("{} is {}, expected F32", part.tensor.name, part.tensor.ty.name())));
        }
        self.upload(&[part]).await
    }

    /// The gain of a norm.
    async fn gain(&mut self, name: &str, norm: Norm, config: &ModelConfig) -> Result<Weight> {
        let (channels, order) = (config.norm_width(norm), config.norm_file_order(norm));
        let offset = config.architecture.gain_offset;
        if order.is_none() && offset == 0.0 {
            let part = self.part(name, 1, channels)?;
            return self.vector(part).await;
        }
        let values: Vec<f32> = self.numbers(name, channels)?.into_iter().map(|gain| gain - offset).collect();
        let values = order.map_or_else(|| values.clone(), |order| order.turn(&values, true));
        let codes = self.context.buffer_with(name, &values)?;
        Ok(Weight::frozen(name, 1, channels, Encoding::F32, codes, None))
    }

    /// The linear layers of one group.
    async fn group(&mut self, layer: usize, group: Group, config: &ModelConfig) -> Result<Linears> {
        let mut parts = Vec::new();
        for module in config.architecture.group(group) {
            let name = format!("blk.{layer}.{}", module.gguf_name);
            if !module.bias && self.gguf.find_tensor(&format!("{name}.bias")).is_some() {
                return Err(self.gguf.unsupported(&format!("a bias ({name}.bias)")));
            }
            let (rows, cols) = config.shape(module);
            let part = Part { order: config.file_order(module), ..self.part(&format!("{name}.weight"), rows, cols)? };
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
        Ok(Linears { weights, bias: self.bias(layer, group, config)? })
    }

    /// The biases of one group, side by side; zeros for a layer that has none beside others that have.
    fn bias(&mut self, layer: usize, group: Group, config: &ModelConfig) -> Result<Option<Weight>> {
        let modules = config.architecture.group(group);
        if modules.clone().all(|module| !module.bias) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for module in modules {
            let (rows, _) = config.shape(module);
            if !module.bias {
                all.resize(all.len() + rows, 0.0);
                continue;
            }
            let values = self.numbers(&format!("blk.{layer}.{}.bias", module.gguf_name), rows)?;
            all.extend(config.file_order(module).map_or_else(|| values.clone(), |order| order.turn(&values, true)));
        }
        let codes = self.context.buffer_with("biases", &all)?;
        Ok(Some(Weight::frozen("biases", 1, all.len(), Encoding::F32, codes, None)))
    }

    /// A vector of the file, which must be f32 and of so many numbers.
    fn numbers(&mut self, name: &str, count: usize) -> Result<Vec<f32>> {
        let Part { tensor, encoding, .. } = self.part(name, 1, count)?;
        if encoding != Encoding::F32 {
            return Err(self.gguf.invalid(format!("{name} is {}, expected F32", tensor.ty.name())));
        }
        let mut values = Vec::with_capacity(count);
        self.hash.update(tensor.name.as_bytes());
        self.gguf.read_tensor_chunks(tensor, CHUNK, |_, bytes| {
            self.hash.update(bytes);
            let first = values.len();
            values.resize(first + bytes.len() / tensor.ty.block_bytes() * tensor.ty.block_len(), 0.0);
            dequantize(tensor.ty, bytes, &mut values[first..])
        })?;
        if let Some(at) = values.iter().position(|value: &f32| !value.is_finite()) {
            return Err(self.gguf.invalid(not_finite(name, at as u64)));
        }
        self.done += tensor.bytes;
        (self.progress)(self.done, self.total);
        Ok(values)
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
        Ok(Part { tensor, order: None, encoding, rows, cols })
    }

    /// Uploads tensors of one encoding and one width as one matrix, below each other; one tensor that no binding holds,
    /// in pieces.
    async fn upload(&mut self, parts: &[Part<'_>]) -> Result<Weight> {
        let Part { tensor, encoding, cols, .. } = parts[0];
        let name = tensor.name.as_str();
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let chunk_rows = self.chunk_rows(&parts[0]);
        let piece_rows = match parts {
            [part] if encoding != Encoding::Nf4 => self.piece_rows(part, chunk_rows),
            _ => rows,
        };
        let mut pieces = Vec::new();
        for first in (0..rows).step_by(piece_rows) {
            let rows = piece_rows.min(rows - first);
            let elements = (rows * cols) as u64;
            let codes = self.context.buffer(name, encoding.codes_bytes(elements))?;
            let scales = match encoding.scales_bytes(elements) {
                0 => None,
                bytes => Some(self.context.buffer(name, bytes)?),
            };
            pieces.push(Piece { rows, codes, scales });
        }
        let context = self.context;
        let mut pending = 0u64;
        let mut before = 0u64;
        let parts_to_write = if context.is_rehearsal() { &[][..] } else { parts };
        for part in parts_to_write {
            let Part { tensor, order, .. } = part;
            let row_bytes = (tensor.bytes / part.rows as u64) as usize;
            let mut in_4bit = Upload::new(self.gguf.name(), tensor, &pieces[0].codes, encoding.codes_bytes(before));
            self.hash.update(tensor.name.as_bytes());
            self.gguf.read_tensor_chunks(tensor, self.chunk_rows(part) * row_bytes, |first, bytes| {
                self.hash.update(bytes);
                let turned = order.as_ref().map(|order| {
                    let first = first as usize / cols;
                    order.of_some_rows(first, bytes.len() / row_bytes).turn(bytes, true)
                });
                let bytes = turned.as_deref().unwrap_or(bytes);
                let packed = pack(tensor.ty, bytes)?;
                if let Some(at) = packed.not_finite() {
                    let place = first + at as u64;
                    return Err(self.gguf.invalid(not_finite(&tensor.name, place)));
                }
                if encoding == Encoding::Nf4 {
                    in_4bit.write(context, bytes)?;
                } else {
                    // A chunk lies within a piece.
                    let a_piece = (piece_rows * cols) as u64;
                    let (piece, at) = ((before + first) / a_piece, (before + first) % a_piece);
                    let Piece { codes, scales, .. } = &pieces[piece as usize];
                    context.write(codes, encoding.codes_bytes(at), &packed.codes);
                    if let Some(scales) = scales {
                        context.write(scales, encoding.scales_bytes(at), &packed.scales);
                    }
                }
                // wgpu keeps what was written in staging memory until something is submitted.
                context.flush();
                self.done += bytes.len() as u64;
                pending += bytes.len() as u64;
                (self.progress)(self.done, self.total);
                context.check()
            })?;
            if let (Encoding::Nf4, Some(scales)) = (encoding, &pieces[0].scales) {
                in_4bit.finish(context, scales, encoding.scales_bytes(before));
            }
            before += tensor.elements();
        }
        if pending >= CHUNK as u64 / 2 {
            // Lets the staging memory of a large tensor go before the next one fills more.
            context.wait().await?;
        }
        Ok(Weight::in_pieces(name, cols, encoding, pieces))
    }

    /// Rows of a tensor that are read at a time: whole heads, for the rows of a head may change places.
    fn chunk_rows(&self, part: &Part<'_>) -> usize {
        let row_bytes = (part.tensor.bytes / part.rows as u64) as usize;
        (CHUNK / row_bytes / self.head_dim).max(1) * self.head_dim
    }

    /// Rows of a tensor that one binding holds: all of them, or some chunks.
    fn piece_rows(&self, part: &Part<'_>, chunk_rows: usize) -> usize {
        let fits = |rows: usize| part.encoding.codes_bytes((rows * part.cols) as u64) <= self.context.binding_limit();
        if fits(part.rows) {
            return part.rows;
        }
        let chunks = (1..).take_while(|chunks| fits(chunks * chunk_rows)).last();
        // Where not even a chunk fits, the buffer's own error says so.
        chunks.unwrap_or(1) * chunk_rows
    }
}

impl Model {
    /// The embeddings of some tokens as the first block is given them, row after row.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn embeddings(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let scale = self.config.embedding_scale();
        Ok(self.rows(&self.embedding, ids).await?.into_iter().map(|x| x * scale).collect())
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
        let y = t.embed(rows.len(), &ids, weight, 1.0, None);
        let copy = t.leaf(rows.len(), weight.cols, &out, None);
        t.copy(y, copy);
        t.finish(&self.context)?.run(0);
        self.context.read(&out, 0, count).await
    }
}
