//! `tokenizer.json` and what stands beside it, in GGUF's tongue: <https://huggingface.co/docs/tokenizers>.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::format::gguf::{Array, Value};
use crate::text::tokenizer::{PRE_TOKENIZERS, pre_tokenizer_name};
use crate::{Error, Result};

/// Types of tokens in GGUF files.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The score of a token that no pair makes: after those that one makes.
const NO_PAIR: f32 = -1e9;

/// A token that is given as its text, or as an object with that.
fn content(token: &Json) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// Whether a part of this type is somewhere among the parts.
fn has(parts: &Json, kind: &str) -> bool {
    match parts {
        Json::Object(fields) => parts["type"] == kind || fields.values().any(|part| has(part, kind)),
        Json::Array(parts) => parts.iter().any(|part| has(part, kind)),
        _ => false,
    }
}

/// The two halves of a merge, with a space between them.
fn merge(merge: &Json) -> Option<String> {
    match merge {
        Json::String(merge) => Some(merge.clone()),
        Json::Array(halves) => Some(format!("{} {}", halves.first()?.as_str()?, halves.get(1)?.as_str()?)),
        _ => None,
    }
}

/// What a GGUF file says of the tokenizer of a model with so many rows of embeddings.
///
/// # Errors
/// [`Error::Format`] for a tokenizer that is not supported, by name, or that does not fit the model.
pub(super) fn values(
    vocabulary: &Json,
    settings: &Json,
    generation: &Json,
    template: Option<String>,
    rows: usize,
    folder: &str,
) -> Result<BTreeMap<String, Value>> {
    let wrong = |what: String| Error::Format {
        file: format!("{folder}/tokenizer.json"),
        what,
        help: "use a model with byte-level BPE or SentencePiece's BPE, whose tokenizer.json is its own".into(),
    };
    let model = &vocabulary["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(wrong(format!("the tokenizer is of the kind {kind}, which is not supported")));
    }
    let of_bytes = model["byte_fallback"].as_bool() != Some(true);
    let mut tokens = vec![None; rows];
    let mut types = vec![UNUSED; rows];
    let named = model["vocab"].as_object().into_iter().flatten().map(|(token, id)| (Some(token.as_str()), id, NORMAL));
    let added = vocabulary["added_tokens"].as_array().into_iter().flatten().map(|token| {
        let kind = if token["special"].as_bool() == Some(true) { CONTROL } else { USER_DEFINED };
        (token["content"].as_str(), &token["id"], kind)
    });
    for (token, id, kind) in named.chain(added) {
        let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < rows);
        let (Some(token), Some(place)) = (token, place) else {
            return Err(wrong(format!("a token has the id {id}, and the model has {rows} rows of embeddings")));
        };
        let is_byte = !of_bytes && token.len() == 6 && token.starts_with("<0x");
        tokens[place] = Some(token.to_owned());
        types[place] = match kind {
            NORMAL if is_byte => BYTE,
            kind => kind,
        };
    }
    let unknown = model["unk_token"].as_str().filter(|_| !of_bytes);
    if let Some(place) = unknown.and_then(|unknown| tokens.iter().position(|token| token.as_deref() == Some(unknown))) {
        types[place] = UNKNOWN;
    }
    let id = |token: &str| tokens.iter().position(|own| own.as_deref() == Some(token)).map(|id| id as u32);
    let mut values = BTreeMap::new();
    let mut set = |key: &str, value: Value| drop(values.insert(format!("tokenizer.ggml.{key}"), value));
    let merges = model["merges"].as_array().into_iter().flatten().map(merge).collect::<Option<Vec<String>>>();
    let merges = merges.ok_or_else(|| wrong("a merge is not two tokens".into()))?;
    if of_bytes {
        let pre = pre_tokenizer_name(&vocabulary["pre_tokenizer"])
            .ok_or_else(|| wrong(format!("the way it splits texts is none of {}", PRE_TOKENIZERS.join(", "))))?;
        if has(&vocabulary["normalizer"], "NFC") != (pre == "qwen2")
            || (model["ignore_merges"] == true) != (pre == "llama-bpe")
        {
            return Err(wrong(format!("it splits texts as {pre} does, and is otherwise different from it")));
        }
        set("model", Value::String("gpt2".into()));
        set("pre", Value::String(pre.into()));
        set("merges", Value::Array(Array::String(merges)));
    } else {
        // Pairs join in the order of the scores of what they make.
        let mut scores = vec![NO_PAIR; rows];
        let places: BTreeMap<&str, usize> =
            tokens.iter().enumerate().filter_map(|(id, token)| Some((token.as_deref()?, id))).collect();
        for (rank, merge) in merges.iter().enumerate() {
            let made = merge.replacen(' ', "", 1);
            let place =
                places.get(made.as_str()).ok_or_else(|| wrong(format!("the merge \"{merge:.40}\" makes no token")))?;
            scores[*place] = scores[*place].max(-(rank as f32));
        }
        let spaces = &vocabulary["pre_tokenizer"];
        let before =
            has(spaces, "Metaspace") && spaces["prepend_scheme"] != "never" && spaces["add_prefix_space"] != false;
        set("model", Value::String("llama".into()));
        set("scores", Value::Array(Array::F32(scores)));
        set("add_space_prefix", Value::Bool(before || has(&vocabulary["normalizer"], "Prepend")));
    }
    let config = |name: &str| content(&settings[name]).and_then(id);
    let ends: Vec<u32> = match &generation["eos_token_id"] {
        Json::Array(ids) => ids.iter().filter_map(Json::as_u64).map(|id| id as u32).collect(),
        one => one.as_u64().map(|id| id as u32).into_iter().collect(),
    };
    let eos = config("eos_token").or(ends.first().copied());
    let ends = ends.into_iter().filter(|end| Some(*end) != eos && (*end as usize) < rows);
    let [eot, eom] = {
        let mut ends = ends;
        [ends.next(), ends.next()]
    };
    for (key, id) in
        [("bos", config("bos_token")), ("eos", eos), ("padding", config("pad_token")), ("eot", eot), ("eom", eom)]
    {
        if let Some(id) = id {
            set(&format!("{key}_token_id"), Value::U32(id));
        }
    }
    // What stands before a text: where the settings do not say, what is put around one says it.
    let first = &vocabulary["post_processor"];
    let begins = |parts: &Json| parts["single"][0]["SpecialToken"]["id"].as_str().is_some();
    let begins = begins(first) || first["processors"].as_array().is_some_and(|parts| parts.iter().any(begins));
    set("add_bos_token", Value::Bool(settings["add_bos_token"].as_bool().unwrap_or(begins)));
    let filled = tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]")));
    set("tokens", Value::Array(Array::String(filled.collect())));
    set("token_type", Value::Array(Array::I32(types)));
    let named = |templates: &Json| {
        let of_name = |template: &&Json| template["name"] == "default";
        templates
            .as_array()
            .and_then(|templates| templates.iter().find(of_name)?["template"].as_str().map(str::to_owned))
    };
    let kept = &settings["chat_template"];
    if let Some(template) = template.or_else(|| kept.as_str().map(str::to_owned)).or_else(|| named(kept)) {
        values.insert("tokenizer.chat_template".into(), Value::String(template));
    }
    Ok(values)
}
