//! Linear layers that are quantized to NF4 on their way from the file to the device.

use super::Architecture;
use crate::format::encoding::Encoding;
use crate::format::ggml::GgmlType;
use crate::format::gguf::TensorInfo;
use crate::format::nf4::{Quantizer, dynamic_map};
use crate::format::quant::{GROUP, dequantize};
use crate::gpu::{Buffer, Context};
use crate::{Error, Result};

/// Makes sure that a linear layer of a block can be quantized to NF4.
///
/// # Errors
/// [`Error::Config`] for one that is quantized already, or whose rows do not end with a group.
pub(super) fn check_in_4bit(tensor: &TensorInfo) -> Result<()> {
    let (name, ty) = (&tensor.name, tensor.ty.name());
    let wrong = |what, help: &str| Err(Error::Config { field: "load_in_4bit".into(), what, help: help.into() });
    if !matches!(tensor.ty, GgmlType::F16 | GgmlType::BF16 | GgmlType::F32) {
        let help = "leave load_in_4bit out: every method trains over quantized weights as they are; or load the model's \
                    F16, BF16 or F32 file";
        return wrong(format!("{name} is {ty} in the file, so the model is quantized already"), help);
    }
    if !tensor.row_len().is_multiple_of(GROUP as u64) {
        let what = format!("{name} has rows of {} numbers, and a multiple of {GROUP} was expected", tensor.row_len());
        return wrong(what, "leave load_in_4bit out for this model");
    }
    Ok(())
}

/// Bytes on the device, at most, of a tensor that `load_in_4bit` quantizes; `None` for one that is no linear layer of a
/// block of this architecture.
///
/// # Errors
/// [`Error::Config`] for one that cannot be quantized.
pub fn bytes_in_4bit(architecture: &Architecture, tensor: &TensorInfo) -> Result<Option<u64>> {
    let part = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.1.strip_suffix(".weight"));
    if !architecture.linears.iter().any(|linear| part == Some(linear.gguf_name)) {
        return Ok(None);
    }
    check_in_4bit(tensor)?;
    Ok(Some(Encoding::Nf4.codes_bytes(tensor.elements()) + Encoding::Nf4.scales_bytes(tensor.elements())))
}

/// A tensor on its way.
pub(super) struct Upload<'a> {
    file: &'a str,
    tensor: &'a TensorInfo,
    quantizer: Quantizer,
    codes: &'a Buffer,
    /// Byte of `codes` where the next ones go.
    at: u64,
}

impl<'a> Upload<'a> {
    /// Nothing of `tensor` of `file` is there yet; its codes go to `codes` from byte `at` on.
    pub fn new(file: &'a str, tensor: &'a TensorInfo, codes: &'a Buffer, at: u64) -> Self {
        Self { file, tensor, quantizer: Quantizer::default(), codes, at }
    }

    /// Takes the next blocks of the file.
    ///
    /// # Errors
    /// As [`Quantizer::push`].
    pub fn write(&mut self, context: &Context, bytes: &[u8]) -> Result<()> {
        let ty = self.tensor.ty;
        let mut values = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_len()];
        dequantize(ty, bytes, &mut values)?;
        let words = self.quantizer.push(self.file, &self.tensor.name, &values)?;
        self.append(context, &words);
        Ok(())
    }

    /// Writes the last codes and, to `scales`, the map and from byte `records` on the tensor's records.
    pub fn finish(mut self, context: &Context, scales: &Buffer, records: u64) {
        let (words, own) = std::mem::take(&mut self.quantizer).finish();
        self.append(context, &words);
        context.write(scales, 0, &dynamic_map());
        context.write(scales, records, &own.records());
    }

    fn append(&mut self, context: &Context, words: &[u32]) {
        context.write(self.codes, self.at, words);
        self.at += 4 * words.len() as u64;
    }
}
