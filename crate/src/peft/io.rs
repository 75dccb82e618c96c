//! PEFT's adapter folder: `adapter_config.json`, `adapter_model.safetensors`, `README.md`.

use std::collections::BTreeSet;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde_json::{Map, Value, json};

use super::score::{is_score, is_value};
pub use super::stream::File;
use super::stream::{self, StreamedFile, Tensor, Values};
use super::traits::ENCODED;
use super::{NamedParam, Peft, create};
use crate::gpu::Context;
use crate::model::Model;
use crate::settings::config::{Method, Objective, RunConfig};
use crate::tape::Tape;
use crate::{Error, Result};

/// The config's file name.
pub const CONFIG: &str = "adapter_config.json";
/// The tensors' file name.
pub const TENSORS: &str = "adapter_model.safetensors";
/// The model card's file name.
pub const CARD: &str = "README.md";

/// The `task_type` of a reward model: a sequence classifier with one class.
const SEQ_CLS: &str = "SEQ_CLS";
/// The field with the modules that are trained whole.
const MODULES_TO_SAVE: &str = "modules_to_save";
/// PEFT's name for the score head, and its other one for what may be that in other models.
const SCORE: &str = "score";
const CLASSIFIER: &str = "classifier";

/// The adapter as PEFT's folder, with a model card.
///
/// # Errors
/// [`Error::Gpu`] when the device failed.
pub async fn save(peft: &dyn Peft, model: &Model, run: Option<&RunConfig>) -> Result<Vec<File>> {
    stream::whole(files(peft, model, run).await?).await
}

/// The same, its tensors to be read while they are written.
///
/// # Errors
/// [`Error::Gpu`] when the device failed.
pub async fn files<'a>(peft: &'a dyn Peft, model: &Model, run: Option<&RunConfig>) -> Result<Vec<StreamedFile<'a>>> {
    let params = peft.params();
    let encoded = encoded(peft, &model.context).await?;
    // What makes virtual tokens is not saved, and a score head is; a value head never.
    let is_saved = |name: &str| if encoded.is_some() { is_score(name) } else { !is_value(name) };
    let mut tensors: Vec<Tensor> = (0..)
        .zip(&params.tensors)
        .filter(|(_, tensor)| is_saved(&tensor.name))
        .map(|(index, tensor)| (tensor.name.clone(), tensor.shape.clone(), Values::Device(&params.values, index)))
        .collect();
    if let Some((shape, values)) = encoded {
        tensors.push((ENCODED.into(), shape, Values::Host(values.into())));
    }
    let mut config = Map::new();
    config.insert("task_type".into(), if params.score().is_some() { SEQ_CLS } else { "CAUSAL_LM" }.into());
    config.insert("base_model_name_or_path".into(), model.config.name.clone().into());
    config.insert("revision".into(), Value::Null);
    config.insert("inference_mode".into(), true.into());
    config.append(&mut peft.config());
    if params.score().is_some() {
        let mut saved = config.get(MODULES_TO_SAVE).and_then(Value::as_array).cloned().unwrap_or_default();
        saved.push(SCORE.into());
        config.insert(MODULES_TO_SAVE.into(), saved.into());
    }
    let config = serde_json::to_vec_pretty(&config).expect("a map of plain values");
    Ok(vec![
        File { name: CONFIG, bytes: config }.into(),
        StreamedFile::tensors(TENSORS, params, tensors)?,
        File { name: CARD, bytes: card(peft, model, run).into_bytes() }.into(),
    ])
}

/// What an encoder makes, in the file's order, with its shape.
async fn encoded(peft: &dyn Peft, context: &Context) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
    let mut t = Tape::new(context);
    let Some((var, order)) = peft.encoded(&mut t) else { return Ok(None) };
    let (rows, cols) = (t.rows(var), t.cols(var));
    let out = context.buffer("virtual tokens", (rows * cols * 4) as u64)?;
    t.keep(var, &out);
    t.finish(context)?.run(0);
    let values: Vec<f32> = context.read(&out, 0, rows * cols).await?;
    Ok(Some((vec![rows, cols], order.map_or_else(|| values.clone(), |order| order.turn(&values, false)))))
}

/// Bytes of the tensors in the adapter's file; their names and shapes take some kilobytes more.
pub fn tensor_bytes(peft: &dyn Peft, context: &Context) -> usize {
    let mut t = Tape::new(context);
    let params = peft.params();
    let score = params.score().map_or(0, |score| score.cols);
    let own = params.count() - params.value().map_or(0, |value| value.cols);
    let count = peft.encoded(&mut t).map_or(own, |(var, _)| t.rows(var) * t.cols(var) + score);
    count * size_of::<f32>()
}

fn card(peft: &dyn Peft, model: &Model, run: Option<&RunConfig>) -> String {
    let (config, params) = (peft.config(), peft.params());
    let kind = config["peft_type"].as_str().unwrap_or_default().to_owned();
    let base = &model.config.name;
    // Where the file lies on this computer is nobody else's business.
    let file = model.file.rsplit(['/', '\\']).next().unwrap_or_default();
    // An adapter fits the base that it was trained over.
    let (own, class, load, flag) = match model.load_in_4bit {
        false => ("", "", "", ""),
        true => (
            ", its linear layers quantized to NF4",
            ", BitsAndBytesConfig",
            ", quantization_config=BitsAndBytesConfig(\n    load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", \
             bnb_4bit_use_double_quant=True)",
            " --load-in-4bit",
        ),
    };
    let in_peft = Method::ALL.iter().any(|method| method.is_in_peft() && method.peft_type() == kind);
    let mut card = format!(
        "---\n{}base_model: {}\ntags:\n- tunesmith\n---\n\n# Adapter for {base}\n\n\
         | | |\n|---|---|\n| Method | {kind} |\n| Trainable parameters | {} |\n| Base file | {file} ({}{own}) |\n\n",
        if in_peft { "library_name: peft\n" } else { "" },
        json!(base),
        params.count(),
        model.quantization,
    );
    let (auto, labels, command, ask) = match params.score() {
        None => ("AutoModelForCausalLM", "", "generate", " --prompt \"Hello\""),
        Some(_) => ("AutoModelForSequenceClassification", ", num_labels=1", "score", " --data pairs.jsonl"),
    };
    card.push_str(&if in_peft {
        format!(
            "Load it with PEFT:\n\n```python\nfrom peft import PeftModel\n\
             from transformers import {auto}{class}\n\n\
             base = {auto}.from_pretrained(\"path/to/base\"{labels}{load})\n\
             model = PeftModel.from_pretrained(base, \"path/to/this/folder\")\n```\n\nor with Tunesmith:\n\n"
        )
    } else {
        "PEFT has no such method. Load it with Tunesmith:\n\n".to_owned()
    });
    card.push_str(&format!("```\ntunesmith {command} --model {file} --adapter path/to/this/folder{ask}{flag}\n```\n"));
    if let Some(run) = run {
        let run = serde_json::to_string_pretty(&run.to_json()).expect("a map of plain values");
        card.push_str(&format!("\n## Training run\n\n```json\n{run}\n```\n"));
    }
    card
}

/// Reads an adapter: `config` and `tensors` are the bytes of the two files of the folder `folder`.
///
/// # Errors
/// [`Error::Adapter`] for a config or tensors that do not fit the model or each other, by name.
pub async fn load(model: &Model, folder: &str, config: &[u8], tensors: &[u8]) -> Result<Box<dyn Peft>> {
    let run = run_config(folder, config)?;
    let peft = create(model, &run).await?;
    fill(peft.as_ref(), folder, tensors)?;
    Ok(peft)
}

/// Puts the tensors of a file into an adapter of the same shape.
///
/// # Errors
/// [`Error::Adapter`] for a tensor that is missing, unknown, of another shape or not of floats.
pub fn fill(peft: &dyn Peft, folder: &str, bytes: &[u8]) -> Result<()> {
    let params = peft.params();
    let is_saved = |index: &usize| !is_value(&params.tensors[*index].name);
    let saved: Vec<usize> = (0..params.tensors.len()).filter(is_saved).collect();
    let wanted: Vec<&NamedParam> = saved.iter().map(|&index| &params.tensors[index]).collect();
    let found = tensors(&wanted, &format!("{folder}/{TENSORS}"), bytes, &[""])?;
    for (index, tensor) in saved.into_iter().zip(&found[0]) {
        params.write(index, &tensor.values());
    }
    Ok(())
}

/// Name and shape of every tensor of an adapter's file, by name.
///
/// # Errors
/// [`Error::Adapter`] for a file that is damaged.
pub fn describe(folder: &str, bytes: &[u8]) -> Result<Vec<(String, Vec<usize>)>> {
    let found = SafeTensors::deserialize(bytes).map_err(|error| damaged(&format!("{folder}/{TENSORS}"), &error))?;
    let mut tensors: Vec<_> = found.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
    tensors.sort();
    Ok(tensors)
}

fn damaged(file: &str, error: &SafeTensorError) -> Error {
    Error::Adapter {
        file: file.into(),
        what: format!("this is no whole safetensors file: {error}"),
        help: "copy or save the file again".into(),
    }
}

/// A tensor of a file whose values are known to be floats.
pub(crate) struct Floats<'a>(TensorView<'a>);

impl Floats<'_> {
    /// Its values.
    pub fn values(&self) -> Vec<f32> {
        floats(&self.0).unwrap_or_default()
    }
}

/// What a safetensors file holds for the parameters under each of these prefixes, and nothing else.
pub(crate) fn tensors<'a>(
    wanted: &[&NamedParam],
    file: &str,
    bytes: &'a [u8],
    prefixes: &[&str],
) -> Result<Vec<Vec<Floats<'a>>>> {
    let wrong = |what: String| Error::Adapter {
        file: file.into(),
        what,
        help: "check that the adapter belongs to this model and that the file is whole".into(),
    };
    let found = SafeTensors::deserialize(bytes).map_err(|error| damaged(file, &error))?;
    // What has no elements, as of a layer that lost all its ranks, needs no place.
    let mut names: BTreeSet<&str> =
        found.iter().filter(|(_, view)| !view.data().is_empty()).map(|(name, _)| name).collect();
    let mut all = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let mut of_prefix = Vec::with_capacity(wanted.len());
        for tensor in wanted {
            let name = format!("{prefix}{}", tensor.name);
            let view = found.tensor(&name).map_err(|_| wrong(format!("the tensor {name} is missing")))?;
            if view.shape() != tensor.shape {
                return Err(wrong(format!("{name} has shape {:?}, expected {:?}", view.shape(), tensor.shape)));
            }
            let not_floats = || wrong(format!("{name} is {:?}, expected F32, F16 or BF16", view.dtype()));
            let read = floats(&view).ok_or_else(not_floats)?;
            // Of a parameter that is no number the model makes nothing, or something that looks right.
            if let Some(at) = read.iter().position(|value| !value.is_finite()).filter(|_| prefix.is_empty()) {
                return Err(wrong(format!("{name} holds {} in place {at}, and numbers were expected", read[at])));
            }
            of_prefix.push(Floats(view));
            names.remove(name.as_str());
        }
        all.push(of_prefix);
    }
    match names.first() {
        Some(name) => Err(wrong(format!("the tensor {name} has no place in this model"))),
        None => Ok(all),
    }
}

fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    Some(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => pairs().map(|pair| half::f16::from_le_bytes(pair).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|pair| half::bf16::from_le_bytes(pair).to_f32()).collect(),
        _ => return None,
    })
}

/// The settings that decide an adapter's shape: a run that begins from one has these of it.
pub const SHAPE: [&str; 15] = [
    "method",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "init_r",
    "num_virtual_tokens",
    "bottleneck_size",
    "non_linearity",
    "adapter_placement",
    "target_modules",
];

/// The settings of a run that begins from an adapter, of which `config` is the bytes of `adapter_config.json`: its own shape, and
/// what was asked for else.
///
/// # Errors
/// As [`run_config`].
pub fn begun_from(folder: &str, config: &[u8], asked: &RunConfig) -> Result<RunConfig> {
    let (mut run, mut asked) = (run_config(folder, config)?, asked.clone());
    asked.leave(&SHAPE);
    run.overlay(&asked);
    Ok(run)
}

/// The method's fields of an `adapter_config.json`, as a run config.
///
/// # Errors
/// [`Error::Adapter`] for a type or a field that we do not have.
pub fn run_config(folder: &str, config: &[u8]) -> Result<RunConfig> {
    let file = format!("{folder}/{CONFIG}");
    let wrong = |what: String, help: &str| Error::Adapter { file: file.clone(), what, help: help.into() };
    let object: Map<String, Value> = serde_json::from_slice(config).map_err(|error| {
        wrong(format!("not a JSON object: {error}"), "save the adapter again with PEFT or Tunesmith")
    })?;
    let set = |name: &str| object.get(name).filter(|value| !value.is_null());
    let again = "save the adapter again with PEFT or Tunesmith";
    let kind = set("peft_type").and_then(Value::as_str).ok_or_else(|| wrong("peft_type is missing".into(), again))?;
    let method = Method::ALL.iter().copied().find(|method| method.peft_type() == kind).ok_or_else(|| {
        let known: Vec<&str> = Method::ALL.iter().map(|method| method.peft_type()).collect();
        wrong(format!("peft_type {kind} is not supported"), &format!("use an adapter of one of {}", known.join(", ")))
    })?;
    let mut run = Map::new();
    run.insert("method".into(), method.name().into());
    for &name in method.file_fields() {
        if let Some(value) = set(name) {
            run.insert(name.into(), value.clone());
        }
    }
    if set("task_type").is_some_and(|kind| kind == SEQ_CLS) {
        run.insert("objective".into(), Objective::Reward.name().into());
        // The score head comes with the objective.
        if let Some(Value::Array(saved)) = run.get_mut(MODULES_TO_SAVE) {
            saved.retain(|name| name != SCORE && name != CLASSIFIER);
        }
    }
    method
        .read(&object, &mut run)
        .map_err(|what| wrong(what, "merge the adapter with PEFT, or train one without it"))?;
    RunConfig::from_json(&Value::Object(run).to_string()).map_err(|error| wrong(error.to_string(), &error.help()))
}
