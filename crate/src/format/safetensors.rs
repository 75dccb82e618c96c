//! Safetensors files, of which a model may have several: their headers at once, their tensors where they are asked for.
//! <https://github.com/huggingface/safetensors>

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, Metadata};

use super::ggml::GgmlType;
use super::source::ReadAt;
use crate::{Error, Result};

/// The longest header, in bytes, that is read: that of a model of ten thousand tensors takes about a megabyte.
const LONGEST_HEADER: u64 = 16 << 20;

/// Where a tensor lies, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// In which of the files, from 0 on.
    pub file: usize,
    /// Its encoding: F32, F16 or BF16.
    pub ty: GgmlType,
    /// Its sizes, the last one that of what lies side by side.
    pub shape: Vec<u64>,
    /// Where its data starts in the file, in bytes.
    pub offset: u64,
    /// Length of its data in bytes.
    pub bytes: u64,
}

/// The tensors of all these files, by name.
///
/// # Errors
/// [`Error::Format`] for a file that is damaged, an encoding that is not supported, and a tensor that is there twice; [`Error::Io`]
/// when a file cannot be read.
pub fn tensors(files: &[Box<dyn ReadAt>]) -> Result<BTreeMap<String, StoredTensor>> {
    let mut all = BTreeMap::new();
    for (file, source) in files.iter().enumerate() {
        let damaged = |what: String| Error::Format {
            file: source.name().into(),
            what,
            help: "the file is damaged or incomplete: download it again".into(),
        };
        let mut length = [0; 8];
        if source.len() < 8 {
            return Err(damaged(format!("a safetensors file begins with 8 bytes, and this one has {}", source.len())));
        }
        source.read_at(0, &mut length)?;
        let header = u64::from_le_bytes(length);
        if header > LONGEST_HEADER.min(source.len() - 8) {
            return Err(damaged(format!("its header would have {header} bytes, and the file has {}", source.len())));
        }
        let mut bytes = vec![0; header as usize];
        source.read_at(8, &mut bytes)?;
        // The library checks that the tensors lie behind each other, each as long as its shape says.
        let metadata: Metadata =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("its header cannot be read: {error}")))?;
        let (first, data) = (8 + header, source.len() - 8 - header);
        if metadata.data_len() as u64 != data {
            let what = format!("its tensors have {} bytes, and the file has {data} for them", metadata.data_len());
            return Err(damaged(what));
        }
        for (name, info) in metadata.tensors() {
            let ty = match info.dtype {
                Dtype::F32 => GgmlType::F32,
                Dtype::F16 => GgmlType::F16,
                Dtype::BF16 => GgmlType::BF16,
                other => {
                    return Err(Error::Format {
                        file: source.name().into(),
                        what: format!("{name} is encoded as {other:?}, which is not supported"),
                        help: "use a folder whose tensors are F32, F16 or BF16".into(),
                    });
                }
            };
            let (begin, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            let shape = info.shape.iter().map(|&size| size as u64).collect();
            let tensor = StoredTensor { file, ty, shape, offset: first + begin, bytes: end - begin };
            if all.insert(name.clone(), tensor).is_some() {
                return Err(damaged(format!("the tensor {name} is there twice")));
            }
        }
    }
    Ok(all)
}
