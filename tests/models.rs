//! The test models on the device: nano (made here), cut (the default model's first two layers) and full.

use tunesmith::Result;
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf::{Array, Gguf, TensorInfo, Value};
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::format::source::{FileSource, MemorySource};
use tunesmith::gpu::Context;
use tunesmith::model::Model;

use crate::golden::nano;
use crate::model_file;

/// Positions of the nano model.
pub const NANO_CONTEXT: u32 = 256;

/// The nano model as a GGUF file, with a byte-level vocabulary, ChatML's tokens and a ChatML template.
pub fn nano_gguf() -> Vec<u8> {
    nano_file().finish()
}

/// The same to be changed.
pub fn nano_file() -> GgufWriter {
    let mut file = GgufWriter::new("llama");
    let number = |value: usize| Value::U32(value as u32);
    file.set("general.name", Value::String("nano".into()));
    file.set("llama.block_count", number(nano::LAYERS));
    file.set("llama.context_length", Value::U32(NANO_CONTEXT));
    file.set("llama.embedding_length", number(nano::CHANNELS));
    file.set("llama.feed_forward_length", number(nano::FFN));
    file.set("llama.attention.head_count", number(nano::HEADS));
    file.set("llama.attention.head_count_kv", number(nano::KV_HEADS));
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(nano::RMS_EPS));
    file.set("llama.rope.freq_base", Value::F32(nano::ROPE_BASE));
    set_vocabulary(&mut file);
    for (name, (shape, values)) in nano::weights() {
        let dims: Vec<u64> = shape.iter().rev().map(|&size| size as u64).collect();
        file.tensor_f32(&name, &dims, &values);
    }
    file
}

/// A byte-level vocabulary of [`nano::VOCAB`], ChatML's tokens, and a ChatML template.
pub fn set_vocabulary(file: &mut GgufWriter) {
    // GPT-2's alphabet: printable bytes stand for themselves, the others are shifted past 255.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let shifted = (0..256_u32).filter(|&byte| !printable(byte)).enumerate();
    let shifted: std::collections::BTreeMap<u32, u32> = shifted.map(|(i, byte)| (byte, 256 + i as u32)).collect();
    let letter = |byte: u32| char::from_u32(*shifted.get(&byte).unwrap_or(&byte)).unwrap().to_string();
    let mut tokens: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from).to_vec();
    tokens.extend((0..256).map(letter));
    let real = tokens.len();
    tokens.extend((real..nano::VOCAB).map(|i| format!("<unused{i}>")));
    // Control tokens are 3, normal ones 1, unused ones 5.
    let kind = |token: usize| match token {
        0..3 => 3,
        _ if token < real => 1,
        _ => 5,
    };
    let types = (0..nano::VOCAB).map(kind).collect();
    file.set("tokenizer.ggml.model", Value::String("gpt2".into()));
    file.set("tokenizer.ggml.pre", Value::String("smollm".into()));
    file.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    file.set("tokenizer.ggml.merges", Value::Array(Array::String(Vec::new())));
    file.set("tokenizer.ggml.bos_token_id", Value::U32(1));
    file.set("tokenizer.ggml.eos_token_id", Value::U32(2));
    file.set("tokenizer.ggml.padding_token_id", Value::U32(2));
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    let template = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                    '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
                    {% endif %}";
    file.set("tokenizer.chat_template", Value::String(template.into()));
}

/// The default model's file, reduced to its first `layers` layers.
fn cut_gguf(full: &Gguf, layers: u32) -> Result<Vec<u8>> {
    let mut file = GgufWriter::new("llama");
    for (key, value) in full.metadata() {
        file.set(key, value.clone());
    }
    file.set("llama.block_count", Value::U32(layers));
    for tensor in full.tensors() {
        let layer = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        if layer.is_some_and(|layer| layer >= layers) {
            continue;
        }
        file.tensor(&tensor.name, &tensor.dims, tensor.ty as GgmlType, tensor_bytes(full, tensor)?);
    }
    Ok(file.finish())
}

fn tensor_bytes(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    gguf.read_tensor_chunks(tensor, 8 << 20, |_, bytes| {
        data.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(data)
}

/// A device; a machine without one fails the test.
pub fn context() -> Context {
    pollster::block_on(Context::new()).unwrap_or_else(|error| panic!("{error}: {}", error.help()))
}

fn full_gguf() -> Result<Gguf> {
    Gguf::open(Box::new(FileSource::open(model_file::path())?))
}

/// `nano` or `cut` as a GGUF file.
pub fn gguf(name: &str) -> Vec<u8> {
    match name {
        "nano" => nano_gguf(),
        "cut" => full_gguf().and_then(|full| cut_gguf(&full, 2)).unwrap_or_else(|error| panic!("cut: {error}")),
        other => panic!("{other} is not made here"),
    }
}

/// `nano`, `cut` or `full` on a device, with another token to pad.
pub fn load_padded(context: &Context, name: &str, pad: u32) -> Model {
    let gguf = match name {
        "full" => full_gguf().unwrap(),
        made => Gguf::open(Box::new(MemorySource::new(format!("{made}.gguf"), gguf(made)))).unwrap(),
    };
    let mut file = GgufWriter::new("llama");
    for (key, value) in gguf.metadata() {
        file.set(key, value.clone());
    }
    file.set("tokenizer.ggml.padding_token_id", Value::U32(pad));
    for tensor in gguf.tensors() {
        file.tensor(&tensor.name, &tensor.dims, tensor.ty as GgmlType, tensor_bytes(&gguf, tensor).unwrap());
    }
    let gguf = Gguf::open(Box::new(MemorySource::new(format!("{name}.gguf"), file.finish()))).unwrap();
    pollster::block_on(Model::load(context, &gguf, |_, _| {})).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `nano`, `cut` or `full` on a device.
pub fn load(context: &Context, name: &str) -> Model {
    let gguf = match name {
        "full" => full_gguf(),
        made => Gguf::open(Box::new(MemorySource::new(format!("{made}.gguf"), gguf(made)))),
    };
    let model = gguf.and_then(|gguf| pollster::block_on(Model::load(context, &gguf, |_, _| {})));
    model.unwrap_or_else(|error| panic!("{name}: {error}: {}", error.help()))
}
