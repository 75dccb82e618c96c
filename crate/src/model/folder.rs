//! A model in a folder as Hugging Face has it: `config.json`, `tokenizer.json` and safetensors files, read as if they were one GGUF
//! file. What is otherwise there is made so while it is read: the order of rotary pairs, gains of norms about 1, matrices the
//! other way round, numbers of vectors in F32.

mod config;
mod tokenizer;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value as Json;

use super::blueprint::{Architecture, HEAD, Positions};
use super::order::{HeadRows, Order};
use crate::format::ggml::GgmlType;
use crate::format::gguf::Gguf;
use crate::format::gguf_write::GgufWriter;
use crate::format::quant::dequantize;
use crate::format::safetensors::{StoredTensor, tensors};
use crate::format::source::ReadAt;
use crate::{Error, Result};

/// The longest text file that is read, in bytes: Gemma's `tokenizer.json` has 33 million.
const LONGEST_TEXT: u64 = 128 << 20;

/// What a folder may have in place of what is read, and what to do then.
const OTHERS: [(&str, &str); 3] = [
    ("pytorch_model.bin", "save the model with safe_serialization=True, or choose one that has safetensors files"),
    ("tokenizer.model", "choose a folder that has tokenizer.json beside it"),
    ("adapter_config.json", "this folder is an adapter: give it as one, and its base as the model"),
];

/// Opens a folder that was given as its files.
///
/// # Errors
/// [`Error::Format`] for what is missing, damaged or not supported, by name; [`Error::Architecture`] for another kind of model;
/// [`Error::Io`] when a file cannot be read.
pub fn open(name: &str, files: Vec<Box<dyn ReadAt>>) -> Result<Gguf> {
    Gguf::open(Box::new(Folder::new(name, files)?))
}

/// What becomes of a tensor while it is read.
enum Made {
    /// Nothing.
    AsIs,
    /// Its numbers in F32, with this added, in this order.
    Numbers(f32, Option<Order>),
    /// Its rows or columns in another order.
    Turned(Order),
}

/// Where a stretch of the file that there would be comes from.
enum Source {
    Tensor(StoredTensor, Made),
    Bytes(Vec<u8>),
}

/// A tensor of the file that there would be.
struct Piece {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    source: Source,
}

/// The GGUF file that a folder would be.
struct Folder {
    name: String,
    files: Vec<Box<dyn ReadAt>>,
    header: Vec<u8>,
    /// Where each piece starts.
    starts: Vec<u64>,
    pieces: Vec<Piece>,
    len: u64,
    /// The last piece that was made: it is asked for part by part.
    made: RefCell<Option<(usize, Rc<Vec<u8>>)>>,
}

/// Collects the tensors that an architecture has from those of the folder.
struct Pieces<'a> {
    architecture: &'static Architecture,
    head_dim: usize,
    /// Those that were not taken yet.
    stored: BTreeMap<String, StoredTensor>,
    all: Vec<Piece>,
    folder: &'a str,
}

/// What a folder may have that is no weight: masks and frequencies that older programs kept.
fn is_left_out(name: &str) -> bool {
    [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"].iter().any(|end| name.ends_with(end))
}

impl Pieces<'_> {
    fn invalid(&self, what: String) -> Error {
        Error::Format {
            file: self.folder.into(),
            what,
            help: "the folder is incomplete, or its config.json is another model's: download it again".into(),
        }
    }

    /// Takes a tensor. Some folders leave the first word of all names out.
    fn take(&mut self, name: &str) -> Option<StoredTensor> {
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        self.stored.remove(name).or_else(|| self.stored.remove(short))
    }

    fn collect(&mut self, layers: usize, tied: Option<bool>) -> Result<()> {
        let architecture = self.architecture;
        let paths = &architecture.paths;
        self.matrix("token_embd", paths.embedding, false)?;
        if let Some(path) = architecture.positions.table() {
            self.matrix("position_embd", path, false)?;
        }
        for layer in 0..layers {
            for own in architecture.norms {
                let path = format!("{}.{}", architecture.block_path(layer), own.path);
                self.norm(&format!("blk.{layer}.{}", own.gguf_name), &path)?;
            }
            for module in architecture.modules() {
                let (name, path) = (format!("blk.{layer}.{}", module.gguf_name), module.path_in(layer));
                let turned = architecture.positions == Positions::Interleaved
                    && module.outputs.iter().any(|outputs| outputs.are_turned());
                self.matrix(&name, &path, turned)?;
                if module.bias {
                    self.vector(&format!("{name}.bias"), &format!("{path}.bias"), 0.0, turned)?;
                }
            }
        }
        self.norm("output_norm", paths.norm)?;
        let head = format!("{HEAD}.weight");
        match tied {
            // Some folders have it all the same.
            Some(true) => drop(self.stored.remove(&head)),
            None if !self.stored.contains_key(&head) => {}
            _ => self.matrix("output", HEAD, false)?,
        }
        Ok(())
    }

    /// The order of so many rows of heads whose pairs are turned: the file that there would be has them side by side.
    fn order(&self, path: &str, rows: u64) -> Result<Order> {
        let head = HeadRows { dim: self.head_dim, turned: self.head_dim };
        if head.dim == 0 || !(rows as usize).is_multiple_of(head.dim) {
            return Err(self.invalid(format!("{path} has {rows} rows, which are no heads of {}", head.dim)));
        }
        Ok(Order::of_rows(std::iter::once((rows as usize, true)), head))
    }

    fn norm(&mut self, name: &str, path: &str) -> Result<()> {
        let offset = self.architecture.gain_offset;
        self.vector(&format!("{name}.weight"), &format!("{path}.weight"), offset, false)?;
        if self.architecture.layer_norm {
            self.vector(&format!("{name}.bias"), &format!("{path}.bias"), 0.0, false)?;
        }
        Ok(())
    }

    fn vector(&mut self, name: &str, path: &str, added: f32, turned: bool) -> Result<()> {
        let stored = self.required(path, 1)?;
        let order = if turned { Some(self.order(path, stored.shape[0])?) } else { None };
        let as_is = stored.ty == GgmlType::F32 && added == 0.0 && order.is_none();
        let made = if as_is { Made::AsIs } else { Made::Numbers(added, order) };
        let (dims, ty) = (stored.shape.clone(), GgmlType::F32);
        self.all.push(Piece { name: name.into(), dims, ty, source: Source::Tensor(stored, made) });
        Ok(())
    }

    fn matrix(&mut self, name: &str, path: &str, turned: bool) -> Result<()> {
        let path = format!("{path}.weight");
        let stored = self.required(&path, 2)?;
        // Only the linear layers of blocks are the other way round.
        let transposed = self.architecture.transposed && name.starts_with("blk.");
        let made = match (turned, transposed) {
            (true, _) => Made::Turned(self.order(&path, stored.shape[0])?),
            (_, true) => Made::Turned(Order::Transposed(stored.shape[1] as usize)),
            _ => Made::AsIs,
        };
        let mut dims: Vec<u64> = stored.shape.iter().rev().copied().collect();
        if transposed {
            dims.reverse();
        }
        let piece = Piece { name: format!("{name}.weight"), dims, ty: stored.ty, source: Source::Tensor(stored, made) };
        self.all.push(piece);
        Ok(())
    }

    /// A tensor of so many dimensions, none of which is empty.
    fn required(&mut self, path: &str, dimensions: usize) -> Result<StoredTensor> {
        let stored = self.take(path).ok_or_else(|| self.invalid(format!("the tensor {path} is missing")))?;
        if stored.shape.len() != dimensions || stored.shape.contains(&0) {
            let what = format!("{path} has the shape {:?}, and {dimensions} dimensions were expected", stored.shape);
            return Err(self.invalid(what));
        }
        Ok(stored)
    }
}

/// The last part of a file's name.
fn end(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// A text file of the folder.
fn text(files: &[Box<dyn ReadAt>], name: &str) -> Result<Option<String>> {
    let Some(file) = files.iter().find(|file| end(file.name()) == name) else { return Ok(None) };
    let wrong = |what: String| Error::Format {
        file: file.name().into(),
        what,
        help: "the file is damaged: download it again".into(),
    };
    if file.len() > LONGEST_TEXT {
        return Err(wrong(format!("it has {} bytes, and at most {LONGEST_TEXT} were expected", file.len())));
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes)?;
    String::from_utf8(bytes).map(Some).map_err(|_| wrong("it is not UTF-8".into()))
}

/// A JSON file of the folder.
fn json(files: &[Box<dyn ReadAt>], name: &str) -> Result<Option<Json>> {
    let Some(text) = text(files, name)? else { return Ok(None) };
    let parsed = serde_json::from_str(&text).map_err(|error| Error::Format {
        file: name.into(),
        what: format!("it is no JSON: {error}"),
        help: "the file is damaged: download it again".into(),
    })?;
    Ok(Some(parsed))
}

impl Folder {
    fn new(name: &str, files: Vec<Box<dyn ReadAt>>) -> Result<Self> {
        let missing = |what: &str| {
            let found = OTHERS.iter().find(|(other, _)| files.iter().any(|file| end(file.name()) == *other));
            Error::Format {
                file: name.into(),
                what: format!("the folder has no {what}"),
                help: found.map_or_else(
                    || "give a .gguf file, or a folder that has config.json, tokenizer.json and weights in .safetensors files".into(),
                    |(other, help)| format!("it has {other}: {help}"),
                ),
            }
        };
        let unsupported = |what: String| {
            Error::Format {
            file: name.into(),
            what: format!("{what}: not supported"),
            help: "the folder is as it should be, and this model is not supported: use one of those that the README's Limits name".into(),
        }
        };
        let config = json(&files, "config.json")?.ok_or_else(|| missing("config.json"))?;
        let (architecture, mut values) = config::values(&config, name)?;
        let vocabulary = json(&files, "tokenizer.json")?.ok_or_else(|| missing("tokenizer.json"))?;
        let settings = json(&files, "tokenizer_config.json")?.unwrap_or_default();
        let is_weights = |name: &str| name.ends_with(".safetensors");
        if !files.iter().any(|file| is_weights(file.name())) {
            return Err(missing("weights in .safetensors files"));
        }
        let (tensor_files, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_weights(file.name()));
        if let Some(index) = json(&files, "model.safetensors.index.json")? {
            let named: BTreeSet<&str> =
                index["weight_map"].as_object().into_iter().flatten().filter_map(|(_, file)| file.as_str()).collect();
            let here: BTreeSet<&str> = tensor_files.iter().map(|file| end(file.name())).collect();
            if let Some(absent) = named.difference(&here).next() {
                return Err(Error::Format {
                    file: name.into(),
                    what: format!("the folder has no {absent}, which model.safetensors.index.json names"),
                    help: "give all files of the model's folder".into(),
                });
            }
        }
        let stored = tensors(&tensor_files)?;
        let mut pieces =
            Pieces { architecture, head_dim: config::head_dim(&config), stored, all: Vec::new(), folder: name };
        pieces.collect(config::layers(&config), config["tie_word_embeddings"].as_bool())?;
        let Pieces { stored, mut all, .. } = pieces;
        if let Some(other) = stored.keys().find(|name| !is_left_out(name)) {
            return Err(unsupported(format!("a {architecture} with {other}")));
        }
        for (name, factors) in config::rotary_factors(&config) {
            let bytes = bytemuck::cast_slice(&factors).to_vec();
            all.push(Piece { name, dims: vec![factors.len() as u64], ty: GgmlType::F32, source: Source::Bytes(bytes) });
        }
        let rows = all.iter().find(|piece| piece.name == "token_embd.weight").map_or(0, |piece| piece.dims[1]);
        let template = text(&files, "chat_template.jinja")?;
        let generation = json(&files, "generation_config.json")?.unwrap_or_default();
        values.extend(tokenizer::values(&vocabulary, &settings, &generation, template, rows as usize, name)?);
        let mut writer = GgufWriter::new(architecture.name);
        values.into_iter().for_each(|(key, value)| writer.set(&key, value));
        all.iter().for_each(|piece| writer.declare(&piece.name, &piece.dims, piece.ty));
        let (header, alignment) = (writer.header(), writer.alignment());
        let mut len = header.len() as u64;
        let mut starts = Vec::with_capacity(all.len());
        for piece in &all {
            starts.push(len);
            len += piece.bytes().next_multiple_of(alignment);
        }
        Ok(Self { name: name.into(), files: tensor_files, header, starts, pieces: all, len, made: RefCell::default() })
    }

    /// All bytes of a piece that is made.
    fn whole(&self, index: usize) -> Result<Rc<Vec<u8>>> {
        if let Some((last, bytes)) = &*self.made.borrow()
            && *last == index
        {
            return Ok(bytes.clone());
        }
        let bytes = Rc::new(match &self.pieces[index].source {
            Source::Bytes(bytes) => bytes.clone(),
            Source::Tensor(stored, made) => {
                let mut bytes = vec![0; stored.bytes as usize];
                self.files[stored.file].read_at(stored.offset, &mut bytes)?;
                made.apply(stored, bytes)?
            }
        });
        *self.made.borrow_mut() = Some((index, bytes.clone()));
        Ok(bytes)
    }
}

impl ReadAt for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.len);
        let end = end.ok_or_else(|| Error::io(&self.name, format!("{} bytes were wanted past the end", buf.len())))?;
        buf.fill(0);
        // What of a stretch that starts there is wanted: where it goes, and from where in the stretch on.
        let part = |start: u64, len: u64| {
            let (from, to) = (offset.max(start), end.min(start + len));
            (from < to).then(|| ((from - offset) as usize..(to - offset) as usize, from - start))
        };
        if let Some((to, from)) = part(0, self.header.len() as u64) {
            let count = to.len();
            buf[to].copy_from_slice(&self.header[from as usize..][..count]);
        }
        let first = self.starts.partition_point(|&start| start <= offset).saturating_sub(1);
        for (index, piece) in self.pieces.iter().enumerate().skip(first) {
            if self.starts[index] >= end {
                break;
            }
            let Some((to, from)) = part(self.starts[index], piece.bytes()) else { continue };
            match &piece.source {
                Source::Tensor(stored, Made::AsIs) => {
                    self.files[stored.file].read_at(stored.offset + from, &mut buf[to])?;
                }
                _ => {
                    let (whole, count) = (self.whole(index)?, to.len());
                    buf[to].copy_from_slice(&whole[from as usize..][..count]);
                }
            }
        }
        Ok(())
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        self.ty.byte_len(self.dims.iter().product()).expect("F32, F16 and BF16 have no blocks")
    }
}

impl Made {
    fn apply(&self, stored: &StoredTensor, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(match self {
            Self::AsIs => bytes,
            Self::Turned(order) if stored.ty == GgmlType::F32 => {
                let values: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
                bytemuck::cast_slice(&order.turn(&values, true)).to_vec()
            }
            Self::Turned(order) => {
                let values: Vec<u16> = bytemuck::pod_collect_to_vec(&bytes);
                bytemuck::cast_slice(&order.turn(&values, true)).to_vec()
            }
            Self::Numbers(added, order) => {
                let mut values = vec![0.0; bytes.len() / stored.ty.block_bytes()];
                dequantize(stored.ty, &bytes, &mut values)?;
                values.iter_mut().for_each(|value| *value += added);
                let values = order.as_ref().map_or_else(|| values.clone(), |order| order.turn(&values, true));
                bytemuck::cast_slice(&values).to_vec()
            }
        })
    }
}
