//! The GGUF writer: metadata and tensors in, a version 3 file out.

use super::ggml::GgmlType;
use super::gguf::{Array, FromValue, Value};

/// Collects metadata and tensors, and lays them out as a GGUF v3 file.
#[derive(Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    data: Vec<u8>,
}

impl GgufWriter {
    /// A file for the given architecture ("llama").
    pub fn new(architecture: &str) -> Self {
        let mut writer = GgufWriter::default();
        writer.set("general.architecture", Value::String(architecture.into()));
        writer
    }

    /// Adds a metadata value, or replaces the one under this key.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.into(), value)),
        }
    }

    /// Adds a tensor; `dims` in ggml's order (row length first), `data` in the encoding of `ty`.
    ///
    /// # Panics
    /// When the length of `data` does not follow from `dims` and `ty`.
    pub fn tensor(&mut self, name: &str, dims: &[u64], ty: GgmlType, data: Vec<u8>) {
        assert_eq!(ty.byte_len(dims.iter().product()), Some(data.len() as u64), "{name}: {dims:?} of {ty}");
        self.tensors.push(Tensor { name: name.into(), dims: dims.into(), ty, data });
    }

    /// Names a tensor whose data is kept elsewhere: then only [`GgufWriter::header`] is asked for.
    pub fn declare(&mut self, name: &str, dims: &[u64], ty: GgmlType) {
        self.tensors.push(Tensor { name: name.into(), dims: dims.into(), ty, data: Vec::new() });
    }

    /// Adds a dense f32 tensor.
    pub fn tensor_f32(&mut self, name: &str, dims: &[u64], values: &[f32]) {
        self.tensor(name, dims, GgmlType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    /// The bytes of the file up to its tensors' data, which follow, each from the next multiple of the alignment on.
    ///
    /// # Panics
    /// When a declared tensor is no whole number of blocks.
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let alignment = self.alignment();
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.ty.number().to_le_bytes());
            out.extend(offset.to_le_bytes());
            let bytes = tensor.ty.byte_len(tensor.dims.iter().product()).expect("whole blocks");
            offset += bytes.next_multiple_of(alignment);
        }
        out.resize(out.len().next_multiple_of(alignment as usize), 0);
        out
    }

    /// Tensors start at multiples of this: `general.alignment`, or 32.
    ///
    /// # Panics
    /// When the metadata has one that is no power of two.
    pub fn alignment(&self) -> u64 {
        let Some((_, value)) = self.metadata.iter().find(|(key, _)| key == "general.alignment") else { return 32 };
        u64::from_value(value).filter(|alignment| alignment.is_power_of_two()).expect("an alignment is a power of two")
    }

    /// The bytes of the file.
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment() as usize), 0);
            out.extend(&tensor.data);
        }
        out
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The type's number, then the value.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! put {
        ($($variant:ident $number:literal)*) => {
            match value {
                $(Value::$variant(v) => {
                    out.extend(u32::to_le_bytes($number));
                    out.extend(v.to_le_bytes());
                })*
                Value::Bool(v) => {
                    out.extend(7u32.to_le_bytes());
                    out.push((*v).into());
                }
                Value::String(v) => {
                    out.extend(8u32.to_le_bytes());
                    put_string(out, v);
                }
                Value::Array(v) => {
                    out.extend(9u32.to_le_bytes());
                    put_array(out, v);
                }
            }
        };
    }
    put!(U8 0 I8 1 U16 2 I16 3 U32 4 I32 5 F32 6 U64 10 I64 11 F64 12);
}

/// The elements' type, their count, then the elements.
fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut head = |number: u32, len: usize| {
        out.extend(number.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    macro_rules! put {
        ($($variant:ident $number:literal)*) => {
            match array {
                $(Array::$variant(v) => {
                    head($number, v.len());
                    out.extend(v.iter().flat_map(|element| element.to_le_bytes()));
                })*
                Array::Bool(v) => {
                    head(7, v.len());
                    out.extend(v.iter().map(|element| u8::from(*element)));
                }
                Array::String(v) => {
                    head(8, v.len());
                    v.iter().for_each(|element| put_string(out, element));
                }
            }
        };
    }
    put!(U8 0 I8 1 U16 2 I16 3 U32 4 I32 5 F32 6 U64 10 I64 11 F64 12);
}
