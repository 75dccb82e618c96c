//! Models in folders as Hugging Face has them, against the same as GGUF files: the same bytes on the device, the same tokens.

use half::{bf16, f16};
use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::{MemorySource, ReadAt};
use tunesmith::model::{Model, files};
use tunesmith::text::tokenizer::Tokenizer;
use tunesmith::{Error, Result};
use tunesmith_tests::golden::architectures;
use tunesmith_tests::models;

const ALL: [&str; 11] =
    ["gemma", "gemma2", "gemma3", "gpt2", "llama3", "llama_linear", "llama_yarn", "phi3", "qwen2", "qwen3", "smollm3"];

/// A folder as a person has it.
struct Folder {
    config: Value,
    tokenizer: Value,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    dtype: Dtype,
    /// Further files.
    others: Vec<(&'static str, String)>,
}

impl Folder {
    fn of(name: &str) -> Self {
        let gguf = Gguf::open(Box::new(MemorySource::new("model.gguf", architectures::file(name).finish()))).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let (config, tensors) = (architectures::config(name), architectures::tensors(name));
        let template = gguf.get::<&str>("tokenizer.chat_template").unwrap().unwrap_or_default();
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
        let settings = json!({
            "bos_token": token(tokenizer.bos()), "eos_token": { "content": token(tokenizer.eos()) }, "chat_template": template,
        });
        let others = vec![("tokenizer_config.json", settings.to_string())];
        let tokenizer = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
        Self { config, tokenizer, tensors, dtype: Dtype::F32, others }
    }

    /// Its files; the tensors in two of them.
    fn files(&self) -> Vec<Box<dyn ReadAt>> {
        let bytes = |values: &[f32]| -> Vec<u8> {
            match self.dtype {
                Dtype::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
                Dtype::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            }
        };
        let data: Vec<Vec<u8>> = self.tensors.iter().map(|(_, _, values)| bytes(values)).collect();
        let views: Vec<(&String, TensorView)> = self
            .tensors
            .iter()
            .zip(&data)
            .map(|((name, shape, _), data)| (name, TensorView::new(self.dtype, shape.clone(), data).unwrap()))
            .collect();
        let (first, second) = views.split_at(views.len() / 2);
        let file = |views: &[(&String, TensorView)]| {
            safetensors::serialize(views.iter().map(|(name, view)| (*name, view.clone())), None).unwrap()
        };
        let mut files = vec![
            ("config.json", self.config.to_string().into_bytes()),
            ("tokenizer.json", self.tokenizer.to_string().into_bytes()),
            ("model-00001-of-00002.safetensors", file(first)),
            ("model-00002-of-00002.safetensors", file(second)),
            ("README.md", b"This is read by people alone.".to_vec()),
        ];
        files.extend(self.others.iter().map(|(name, text)| (*name, text.clone().into_bytes())));
        let source = |(name, bytes)| Box::new(MemorySource::new(format!("folder/{name}"), bytes)) as Box<dyn ReadAt>;
        files.into_iter().map(source).collect()
    }

    fn open(&self) -> Result<Gguf> {
        files::open("folder", self.files())
    }

    fn error(&self) -> Error {
        match self.open().and_then(|gguf| block_on(Model::load(&models::context(), &gguf, |_, _| {}))) {
            Ok(_) => panic!("it loads"),
            Err(error) => error,
        }
    }
}

fn load(gguf: &Gguf) -> Model {
    block_on(Model::load(&models::context(), gguf, |_, _| {})).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_architecture_is_what_its_file_is() {
    for name in ALL {
        let file =
            load(&Gguf::open(Box::new(MemorySource::new("folder", architectures::file(name).finish()))).unwrap());
        let folder = load(&Folder::of(name).open().unwrap_or_else(|error| panic!("{name}: {error}")));
        // What Llama 3 divides frequencies by is found here in f64; the fixtures' come of frequencies that transformers rounded.
        let mut want = file.config.clone();
        assert_eq!(want.rotary.factors.len(), folder.config.rotary.factors.len(), "{name}");
        for (want, &found) in want.rotary.factors.iter_mut().zip(&folder.config.rotary.factors) {
            assert!((*want - found).abs() <= 1e-6 * found, "{name}: {want} and {found}");
            *want = found;
        }
        assert_eq!(folder.config, want, "{name}");
        assert_eq!(folder.hash, file.hash, "{name}: the weights, byte for byte");
        assert_eq!(folder.template_source, file.template_source, "{name}");
        for text in ["How are you today?", " two  spaces\n\nand 1234 lines", "<|im_start|>user\nhé 😀<|im_end|>"] {
            let [of_folder, of_file] = [&folder, &file].map(|model| model.tokenizer.encode(text, true).unwrap());
            assert_eq!(of_folder, of_file, "{name}: {text:?}");
        }
        let ids = |model: &Model| (model.tokenizer.bos(), model.tokenizer.eos(), model.tokenizer.end_ids().to_vec());
        assert_eq!(ids(&folder), ids(&file), "{name}");
    }
}

/// Halves stay halves, but for what is a vector.
#[test]
fn halves() {
    for (dtype, name) in [(Dtype::BF16, "BF16"), (Dtype::F16, "F16")] {
        for model in ["llama3", "gemma3", "gpt2"] {
            let gguf = Folder { dtype, ..Folder::of(model) }.open().unwrap();
            for tensor in gguf.tensors() {
                let want = if tensor.dims.len() == 1 { "F32" } else { name };
                assert_eq!(tensor.ty.name(), want, "{model}: {}", tensor.name);
            }
            // And each number is the one that was rounded.
            let rounded = |value: f32| {
                if dtype == Dtype::F16 { f16::from_f32(value).to_f32() } else { bf16::from_f32(value).to_f32() }
            };
            let mut plain = Folder::of(model);
            plain.tensors.iter_mut().flat_map(|(_, _, values)| values).for_each(|value| *value = rounded(*value));
            let plain = plain.open().unwrap();
            for tensor in gguf.tensors() {
                let numbers = |gguf: &Gguf| {
                    let tensor = gguf.tensor(&tensor.name).unwrap();
                    let mut numbers = vec![0.0; tensor.elements() as usize];
                    gguf.read_tensor_chunks(tensor, 1 << 12, |first, bytes| {
                        let count = bytes.len() / tensor.ty.block_bytes();
                        tunesmith::format::quant::dequantize(tensor.ty, bytes, &mut numbers[first as usize..][..count])
                    })
                    .unwrap();
                    numbers
                };
                assert_eq!(numbers(&gguf), numbers(&plain), "{model}: {}", tensor.name);
            }
        }
    }
}

#[test]
fn what_is_missing_or_not_supported_is_named() {
    let changed = |change: &dyn Fn(&mut Folder)| {
        let mut folder = Folder::of("llama3");
        change(&mut folder);
        folder.error()
    };
    let config = |field: &'static str, value: Value| changed(&|folder| folder.config[field] = value.clone());
    for (error, words) in [
        (config("model_type", json!("mixtral")), "mixtral"),
        (config("text_config", json!({})), "other parts than text"),
        (config("quantization_config", json!({ "quant_method": "bitsandbytes" })), "quantized (bitsandbytes)"),
        (config("hidden_act", json!("relu")), "relu in its feed-forward"),
        (config("num_hidden_layers", json!(3)), "model.layers.2.input_layernorm.weight is missing"),
        (config("num_hidden_layers", json!(1)), "a llama with model.layers.1."),
        (config("num_attention_heads", Value::Null), "num_attention_heads is missing"),
        (config("head_dim", json!(1_u64 << 40)), "heads of 1099511627776"),
        (config("tie_word_embeddings", json!(false)), "lm_head.weight is missing"),
        (config("rope_parameters", json!({ "rope_type": "dynamic" })), "rotary scaling (dynamic)"),
        (changed(&|folder| folder.tokenizer["model"]["type"] = json!("WordPiece")), "the kind WordPiece"),
        (
            changed(&|folder| folder.tokenizer["pre_tokenizer"] = json!({ "type": "Whitespace" })),
            "the way it splits texts is none of",
        ),
        (changed(&|folder| folder.tokenizer["model"]["vocab"]["far"] = json!(9999)), "a token has the id 9999"),
        (
            changed(&|folder| {
                folder.tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![4], vec![0.0; 4]))
            }),
            "q_proj.bias",
        ),
        (
            changed(&|folder| {
                let index = json!({ "weight_map": { "a": "model-00003-of-00002.safetensors" } });
                folder.others.push(("model.safetensors.index.json", index.to_string()));
            }),
            "no model-00003-of-00002.safetensors",
        ),
    ] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let without = |name: &str| {
        let all = Folder::of("llama3").files().into_iter().filter(|file| !file.name().ends_with(name)).collect();
        files::open("folder", all).err().unwrap().to_string()
    };
    for name in ["config.json", "tokenizer.json", ".safetensors"] {
        assert!(without(name).contains(name), "{}", without(name));
    }
}
