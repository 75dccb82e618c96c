//! The GGUF reader: header, metadata and the list of tensors at once, tensor data in pieces.
//!
//! A corrupt file gives an error that names the place: every length is checked against the file
//! before anything is allocated, and nothing here panics on input.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use super::encoding::Encoding;
use super::ggml::GgmlType;
pub use super::gguf_value::{Array, FromValue, Value};
use super::quant;
use super::source::ReadAt;
use super::split;
use crate::{Error, Result};

/// Metadata and tensor list together may not pass this: the largest vocabularies take about 20 MB.
const MAX_HEADER: u64 = 64 << 20;
/// ggml's own limit.
const MAX_DIMS: u32 = 4;
/// The buffer of the header's reader.
const BUFFER: u64 = 1 << 20;

/// An open GGUF file, or the several files of a model that is split.
pub struct Gguf {
    sources: Vec<Box<dyn ReadAt>>,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
}

/// Where one tensor lies in the file, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// The name, such as "blk.0.attn_q.weight".
    pub name: String,
    /// Sizes as ggml orders them: the first is the row length (the contiguous axis).
    pub dims: Vec<u64>,
    /// The encoding.
    pub ty: GgmlType,
    /// In which of the model's files it lies, from 0 on.
    pub part: usize,
    /// Where the data starts, in bytes from the start of that file.
    pub offset: u64,
    /// Length of the data in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Elements in all.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Elements in a row.
    pub fn row_len(&self) -> u64 {
        self.dims[0]
    }
}

impl Gguf {
    /// Reads the header, the metadata and the list of tensors; no tensor data.
    pub fn open(source: Box<dyn ReadAt>) -> Result<Self> {
        Self::open_parts(vec![source])
    }

    /// The same of all the files of a model that is split, in their order; its metadata are those of the first.
    ///
    /// # Errors
    /// [`Error::Format`] where one of them is missing or in another's place, beside those of [`Gguf::open`].
    ///
    /// # Panics
    /// Without any file.
    pub fn open_parts(sources: Vec<Box<dyn ReadAt>>) -> Result<Self> {
        let (mut metadata, mut tensors, mut names) = (None, Vec::new(), HashSet::new());
        for (part, source) in sources.iter().enumerate() {
            let mut reader = Reader { source: &**source, offset: 0, buffer: Vec::new(), at: 0 };
            let (tensor_count, value_count) = reader.header()?;
            let own = reader.metadata(value_count)?;
            split::check(&own, part, sources.len()).map_err(|what| {
                let help = "keep all files of the model in one folder, under the names that they came with, and choose the first; or join \
                            them with llama.cpp's gguf-split";
                Error::Format { file: source.name().into(), what, help: help.into() }
            })?;
            let found = reader.tensors(tensor_count, &own, &mut names)?;
            tensors.extend(found.into_iter().map(|tensor| TensorInfo { part, ..tensor }));
            metadata.get_or_insert(own);
        }
        let mut metadata = metadata.expect("a model has a file");
        let in_all = split::forget(&mut metadata);
        let gguf = Gguf { sources, metadata, tensors };
        match in_all.filter(|&count| count != gguf.tensors.len()) {
            Some(count) => {
                let what = format!("the model's files have {} tensors, and {count} were expected", gguf.tensors.len());
                Err(gguf.invalid(what))
            }
            None => Ok(gguf),
        }
    }

    /// The name of the file, or of the first one, for messages.
    pub fn name(&self) -> &str {
        self.sources[0].name()
    }

    /// Bytes of the file, or of all of them.
    pub fn file_len(&self) -> u64 {
        self.sources.iter().map(|source| source.len()).sum()
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The metadata under `key`, `None` where there is none; an error where it has another type.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let wrong = || self.invalid(format!("{key} is {}, and {} was expected", value.describe(), T::EXPECTED));
        T::from_value(value).map(Some).ok_or_else(wrong)
    }

    /// The metadata under `key`; an error where there is none or it has another type.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.get(key)?.ok_or_else(|| self.invalid(format!("the metadata key {key} is missing")))
    }

    /// The tensor called `name`, `None` where there is none.
    pub fn find_tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The tensor called `name`; an error where there is none.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.find_tensor(name).ok_or_else(|| self.invalid(format!("the tensor {name} is missing")))
    }

    /// The device encoding of a tensor; an error that names the tensor where its type is not supported.
    pub fn encoding(&self, tensor: &TensorInfo) -> Result<Encoding> {
        Encoding::of(tensor.ty).ok_or_else(|| quant::unsupported(self.name(), &tensor.name, tensor.ty.name()))
    }

    /// Reads a tensor's data in pieces of at most `max_bytes`, in order, calling `each` with the
    /// number of the piece's first element and its bytes.
    ///
    /// Pieces are cut at whole rows where two rows fit, else at whole blocks, and (but for the last)
    /// hold an even number of elements, so that each can be packed on its own. Only one is in memory.
    pub fn read_tensor_chunks(
        &self,
        tensor: &TensorInfo,
        max_bytes: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (block, block_bytes) = (tensor.ty.block_len() as u64, tensor.ty.block_bytes() as u64);
        let row_bytes = tensor.row_len() / block * block_bytes;
        let max = max_bytes as u64;
        let (step, step_bytes) =
            if 2 * row_bytes <= max { (tensor.row_len(), row_bytes) } else { (block, block_bytes) };
        let fitting = max / step_bytes;
        let steps = if step % 2 == 1 { fitting & !1 } else { fitting };
        if steps == 0 {
            let what = format!("{max_bytes} bytes do not hold two blocks of tensor {}", tensor.name);
            return Err(Error::Format { file: self.name().into(), what, help: "read larger pieces".into() });
        }
        let mut buffer = vec![0; tensor.bytes.min(steps * step_bytes) as usize];
        let (mut done, mut element) = (0, 0);
        while done < tensor.bytes {
            let piece = &mut buffer[..(tensor.bytes - done).min(steps * step_bytes) as usize];
            self.sources[tensor.part].read_at(tensor.offset + done, piece)?;
            each(element, piece)?;
            done += piece.len() as u64;
            element += steps * step;
        }
        Ok(())
    }

    /// A format error of this file.
    pub fn invalid(&self, what: String) -> Error {
        invalid(self.name(), what)
    }

    /// An error of a file that is as it should be, of a model that is not supported: what it has.
    pub fn unsupported(&self, what: &str) -> Error {
        let help = "the file is as it should be, and this model is not supported: use one of those that the README's Limits name";
        Error::Format { file: self.name().into(), what: format!("{what}: not supported"), help: help.into() }
    }
}

/// Two tensors, if there are such, that have bytes of the file in common.
fn overlapping(tensors: &[TensorInfo]) -> Option<[&TensorInfo; 2]> {
    let mut placed: Vec<&TensorInfo> = tensors.iter().collect();
    placed.sort_by_key(|tensor| tensor.offset);
    placed.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset).map(|pair| [pair[0], pair[1]])
}

fn invalid(file: &str, what: String) -> Error {
    let help = "the file is damaged, incomplete or not a language model: download it again, or use another GGUF file";
    Error::Format { file: file.into(), what, help: help.into() }
}

/// Reads the front of the file in order, through a buffer.
struct Reader<'a> {
    source: &'a dyn ReadAt,
    /// Offset in the file of the next unread byte.
    offset: u64,
    buffer: Vec<u8>,
    /// Position of the next unread byte in `buffer`.
    at: usize,
}

impl Reader<'_> {
    fn invalid(&self, what: impl std::fmt::Display) -> Error {
        invalid(self.source.name(), format!("at byte {}: {what}", self.offset))
    }

    /// Bytes that the header may still take up.
    fn left(&self) -> u64 {
        self.source.len().min(MAX_HEADER).saturating_sub(self.offset)
    }

    /// Checks that `len` more bytes can be there, before anything is allocated for them.
    fn expect(&self, len: u64, what: &str) -> Result<()> {
        if len <= self.left() {
            return Ok(());
        }
        Err(if self.source.len() > MAX_HEADER && self.offset.saturating_add(len) > MAX_HEADER {
            self.invalid(format!("{what} would make the header longer than {} MiB", MAX_HEADER >> 20))
        } else {
            self.invalid(format!("the file ends within {what}"))
        })
    }

    /// Hands the next `len` bytes to `each`, in pieces.
    fn read(&mut self, len: u64, what: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.expect(len, what)?;
        let mut left = len;
        while left > 0 {
            if self.at == self.buffer.len() {
                self.buffer.resize((self.source.len() - self.offset).min(BUFFER) as usize, 0);
                self.source.read_at(self.offset, &mut self.buffer)?;
                self.at = 0;
            }
            let piece = left.min((self.buffer.len() - self.at) as u64);
            each(&self.buffer[self.at..self.at + piece as usize]);
            self.at += piece as usize;
            self.offset += piece;
            left -= piece;
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let (mut bytes, mut filled) = ([0; N], 0);
        self.read(N as u64, what, |piece| {
            bytes[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &str) -> Result<String> {
        let len = self.u64(what)?;
        self.expect(len, what)?;
        let mut bytes = Vec::with_capacity(len as usize);
        self.read(len, what, |piece| bytes.extend_from_slice(piece))?;
        String::from_utf8(bytes).map_err(|_| self.invalid(format!("{what} is not UTF-8")))
    }

    fn bool(&mut self, what: &str) -> Result<bool> {
        match self.bytes::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.invalid(format!("{what} is {other}, and 0 or 1 was expected"))),
        }
    }

    /// Magic, version and the two counts: (tensors, metadata values).
    fn header(&mut self) -> Result<(u64, u64)> {
        let name = self.source.name().to_owned();
        if self.source.len() < 4 || self.bytes::<4>("the magic")? != *b"GGUF" {
            return Err(Error::Format {
                file: name,
                what: "this is not a GGUF file: it does not start with \"GGUF\"".into(),
                help: "choose a model file that ends in .gguf".into(),
            });
        }
        let version = self.u32("the version")?;
        let help = "use a GGUF file of version 2 or 3, little-endian: today's tools write these".to_owned();
        match version {
            2 | 3 => {}
            _ if matches!(version.swap_bytes(), 1..=3) => {
                return Err(Error::Format { file: name, what: "this GGUF file is big-endian".into(), help });
            }
            _ => {
                let what = format!("this is GGUF version {version}, which is not supported");
                return Err(Error::Format { file: name, what, help });
            }
        }
        Ok((self.u64("the tensor count")?, self.u64("the metadata count")?))
    }

    fn metadata(&mut self, count: u64) -> Result<BTreeMap<String, Value>> {
        let mut metadata = BTreeMap::new();
        for _ in 0..count {
            let key = self.string("a metadata key")?;
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key)?;
            if metadata.contains_key(&key) {
                return Err(self.invalid(format!("the metadata key {key} is there twice")));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value> {
        Ok(match kind {
            0 => Value::U8(self.bytes(key).map(u8::from_le_bytes)?),
            1 => Value::I8(self.bytes(key).map(i8::from_le_bytes)?),
            2 => Value::U16(self.bytes(key).map(u16::from_le_bytes)?),
            3 => Value::I16(self.bytes(key).map(i16::from_le_bytes)?),
            4 => Value::U32(self.bytes(key).map(u32::from_le_bytes)?),
            5 => Value::I32(self.bytes(key).map(i32::from_le_bytes)?),
            6 => Value::F32(self.bytes(key).map(f32::from_le_bytes)?),
            7 => Value::Bool(self.bool(key)?),
            8 => Value::String(self.string(key)?),
            9 => Value::Array(self.array(key)?),
            10 => Value::U64(self.bytes(key).map(u64::from_le_bytes)?),
            11 => Value::I64(self.bytes(key).map(i64::from_le_bytes)?),
            12 => Value::F64(self.bytes(key).map(f64::from_le_bytes)?),
            _ => return Err(self.invalid(format!("{key} has the unknown value type {kind}"))),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array> {
        let kind = self.u32(key)?;
        let len = self.u64(key)?;
        Ok(match kind {
            0 => Array::U8(self.elements(len, 1, key, |r| r.bytes(key).map(u8::from_le_bytes))?),
            1 => Array::I8(self.elements(len, 1, key, |r| r.bytes(key).map(i8::from_le_bytes))?),
            2 => Array::U16(self.elements(len, 2, key, |r| r.bytes(key).map(u16::from_le_bytes))?),
            3 => Array::I16(self.elements(len, 2, key, |r| r.bytes(key).map(i16::from_le_bytes))?),
            4 => Array::U32(self.elements(len, 4, key, |r| r.bytes(key).map(u32::from_le_bytes))?),
            5 => Array::I32(self.elements(len, 4, key, |r| r.bytes(key).map(i32::from_le_bytes))?),
            6 => Array::F32(self.elements(len, 4, key, |r| r.bytes(key).map(f32::from_le_bytes))?),
            7 => Array::Bool(self.elements(len, 1, key, |r| r.bool(key))?),
            8 => Array::String(self.elements(len, 8, key, |r| r.string(key))?),
            9 => return Err(self.invalid(format!("{key} is an array of arrays, which no language model needs"))),
            10 => Array::U64(self.elements(len, 8, key, |r| r.bytes(key).map(u64::from_le_bytes))?),
            11 => Array::I64(self.elements(len, 8, key, |r| r.bytes(key).map(i64::from_le_bytes))?),
            12 => Array::F64(self.elements(len, 8, key, |r| r.bytes(key).map(f64::from_le_bytes))?),
            _ => return Err(self.invalid(format!("{key} has the unknown element type {kind}"))),
        })
    }

    /// Reads `len` elements of at least `min_bytes` each.
    fn elements<T>(
        &mut self,
        len: u64,
        min_bytes: u64,
        key: &str,
        mut one: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(len.saturating_mul(min_bytes), key)?;
        (0..len).map(|_| one(self)).collect()
    }

    /// The list of tensors; `names` are those of the model's files before this one, and get these.
    fn tensors(
        &mut self,
        count: u64,
        metadata: &BTreeMap<String, Value>,
        names: &mut HashSet<String>,
    ) -> Result<Vec<TensorInfo>> {
        const MIN_BYTES: u64 = 8 + 4 + 8 + 4 + 8;
        self.expect(count.saturating_mul(MIN_BYTES), "the list of tensors")?;
        let mut tensors: Vec<TensorInfo> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let tensor = self.tensor()?;
            if !names.insert(tensor.name.clone()) {
                return Err(self.invalid(format!("the tensor {} is there twice", tensor.name)));
            }
            tensors.push(tensor);
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(value) => u32::from_value(value)
                .filter(|a| a.is_power_of_two() && *a <= 1 << 20)
                .ok_or_else(|| self.invalid("general.alignment is not a power of two up to 1048576"))?,
        };
        let data = self.offset.next_multiple_of(alignment.into());
        if let Some(tensor) = tensors.iter().find(|tensor| !tensor.offset.is_multiple_of(alignment.into())) {
            let what = format!("begins at byte {} of the data, and at a multiple of {alignment}", tensor.offset);
            return Err(self.invalid(format!("tensor {} {what} was expected", tensor.name)));
        }
        // The first tensor that does not fit says most about a truncated file.
        let misplaced = tensors.iter_mut().try_for_each(|tensor| {
            let start = data.checked_add(tensor.offset);
            let end = start.and_then(|start| start.checked_add(tensor.bytes));
            match (start, end) {
                (Some(start), Some(end)) if end <= self.source.len() => tensor.offset = start,
                _ => return ControlFlow::Break((tensor.name.clone(), tensor.bytes, end)),
            }
            ControlFlow::Continue(())
        });
        match misplaced {
            ControlFlow::Continue(()) => match overlapping(&tensors) {
                None => Ok(tensors),
                Some([one, other]) => {
                    let what = format!("the tensors {} and {} lie over each other", one.name, other.name);
                    Err(invalid(self.source.name(), what))
                }
            },
            ControlFlow::Break((name, bytes, end)) => {
                let end = end.map_or("far past any file".into(), |end| format!("at byte {end}"));
                let len = self.source.len();
                let what = format!("tensor {name} ({bytes} bytes) would end {end}, and the file has {len} bytes");
                Err(invalid(self.source.name(), what))
            }
        }
    }

    /// One entry of the list, its offset still counted from the start of the data.
    fn tensor(&mut self) -> Result<TensorInfo> {
        let name = self.string("a tensor's name")?;
        let rank = self.u32(&name)?;
        if !(1..=MAX_DIMS).contains(&rank) {
            return Err(self.invalid(format!("tensor {name} has {rank} dimensions, and 1 to {MAX_DIMS} were expected")));
        }
        let dims = (0..rank).map(|_| self.u64(&name)).collect::<Result<Vec<_>>>()?;
        let number = self.u32(&name)?;
        let offset = self.u64(&name)?;
        let ty = GgmlType::from_number(number)
            .ok_or_else(|| quant::unsupported(self.source.name(), &name, &format!("ggml type {number}")))?;
        let elements = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim)).filter(|n| *n > 0);
        let whole_rows = dims[0].is_multiple_of(ty.block_len() as u64);
        let bytes = elements.and_then(|elements| ty.byte_len(elements)).filter(|_| whole_rows);
        let bytes = bytes.ok_or_else(|| self.invalid(format!("tensor {name} of type {ty} has the sizes {dims:?}")))?;
        Ok(TensorInfo { name, dims, ty, part: 0, offset, bytes })
    }
}
