//! What a session does with its adapters: reading, merging, writing and giving them up.

use std::rc::Rc;

use js_sys::{Array, Function, Uint8Array};
use serde_json::Value;
use wasm_bindgen::prelude::*;

use super::Session;
use super::adapter::Adapter;
use super::files::{describe, open_model};
use super::js::{JsResult, thrown, to_js};
use super::store::named_files;
use crate::model::Model;
use crate::peft::merge::{Merge, OutType};
use crate::peft::{Peft, io};
use crate::settings::config::RunConfig;
use crate::settings::field::{FieldValue, Input};
use crate::{Error, Result};

impl Session {
    /// Takes an adapter among the others, and gives its number. It is that of a file, or of a run, which may be kept.
    pub(super) fn keep(
        &mut self,
        (file, run): (Option<String>, Option<String>),
        config: RunConfig,
        peft: Rc<dyn Peft>,
    ) -> u32 {
        self.numbered += 1;
        self.adapters.push(Adapter { id: self.numbered, file, run, made: js_sys::Date::now(), config, peft });
        self.numbered
    }

    pub(super) fn adapter(&self, id: u32) -> Result<&Adapter> {
        self.adapters.iter().find(|adapter| adapter.id == id).ok_or_else(|| Error::Config {
            field: "adapter".into(),
            what: format!("there is no adapter {id}"),
            help: "train one, or read one from a file, and choose it".into(),
        })
    }

    async fn read_adapter(&mut self, name: String, config: &[u8], tensors: &[u8]) -> Result<u32> {
        let peft = io::load(self.model()?, &name, config, tensors).await?;
        let config = io::run_config(&name, config)?;
        Ok(self.keep((Some(name), None), config, peft.into()))
    }

    async fn merge(&self, id: u32, outtype: &str, on_piece: &Function) -> Result<()> {
        let outtype = OutType::read(Input::Text(outtype)).ok_or_else(|| Error::Config {
            field: "outtype".into(),
            what: format!("there is no type {outtype}"),
            help: format!("give {}", OutType::EXPECTED),
        })?;
        let (model, adapter) = (self.model()?, self.adapter(id)?);
        let (name, files) = self.source.as_ref().expect("a model has its files");
        let gguf = open_model(name, files)?;
        let merge = Merge::new(model, &gguf, adapter.peft.as_ref(), outtype)?;
        let (mut done, all) = (0, merge.bytes());
        merge
            .write(|piece| {
                done += piece.len() as u64;
                let bytes = Uint8Array::from(piece);
                let taken = on_piece.call3(&JsValue::NULL, &bytes, &(done as f64).into(), &(all as f64).into());
                taken.map(|_| ()).map_err(|error| Error::io(format!("the merged {name}"), describe(&error)))
            })
            .await
    }
}

#[wasm_bindgen]
impl Session {
    /// Every adapter of the model that is loaded, in the order they came.
    pub fn adapters(&self) -> JsValue {
        let training = self.run.as_ref().map(|run| run.adapter);
        let told = |model: &Rc<Model>| -> Vec<Value> {
            self.adapters.iter().map(|adapter| adapter.told(model, training == Some(adapter.id))).collect()
        };
        to_js(&self.model.as_ref().map_or_else(Vec::new, told))
    }

    /// Reads an adapter, which is the last of [`Session::adapters`] then: `config` and `tensors` are the bytes of
    /// `adapter_config.json` and `adapter_model.safetensors`. Gives its number.
    #[wasm_bindgen(js_name = addAdapter)]
    pub async fn add_adapter(&mut self, name: String, config: &[u8], tensors: &[u8]) -> JsResult<u32> {
        self.read_adapter(name, config, tensors).await.map_err(thrown)
    }

    /// Gives up an adapter, and its memory.
    #[wasm_bindgen(js_name = removeAdapter)]
    pub fn remove_adapter(&mut self, id: u32) {
        self.adapters.retain(|adapter| adapter.id != id);
    }

    /// The model with an adapter merged in, as a GGUF file: `on_piece` is given its bytes, piece after piece, the bytes
    /// done with them and those in all. `outtype` is "f32" or "f16".
    #[wasm_bindgen(js_name = mergeGguf)]
    pub async fn merge_gguf(&self, id: u32, outtype: &str, on_piece: Function) -> JsResult<()> {
        self.merge(id, outtype, &on_piece).await.map_err(thrown)
    }

    /// An adapter as the files of PEFT's folder: `[{name, bytes}]`.
    #[wasm_bindgen(js_name = exportPeft)]
    pub async fn export_peft(&self, id: u32) -> JsResult<Array> {
        let (model, adapter) = (self.model().map_err(thrown)?, self.adapter(id).map_err(thrown)?);
        let files = io::save(adapter.peft.as_ref(), model, adapter.settings()).await.map_err(thrown)?;
        named_files(&files)
    }
}
