//! A record in the browser's own storage: the page's worker holds the folder, and does what a [`Store`] asks.

use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use super::files::describe;
use super::js::JsResult;
use crate::peft::io::File;
use crate::record::{Parts, Store};
use crate::{Error, Result};

#[wasm_bindgen]
extern "C" {
    /// The folder as the page hands it over.
    #[wasm_bindgen(typescript_type = "RunStore")]
    pub type JsStore;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsStore) -> String;
    #[wasm_bindgen(method, catch)]
    async fn entries(this: &JsStore) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn bytes(this: &JsStore) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &JsStore, path: &str) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn write(this: &JsStore, name: &str, bytes: Uint8Array) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn append(this: &JsStore, name: &str, bytes: Uint8Array) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch, js_name = openFolder)]
    async fn open_folder(this: &JsStore, name: &str) -> JsResult<JsFolderDraft>;
    #[wasm_bindgen(method, catch, js_name = removeFolder)]
    async fn remove_folder(this: &JsStore, name: &str) -> JsResult<JsValue>;

    /// A folder that is being written.
    #[wasm_bindgen(typescript_type = "FolderDraft")]
    pub type JsFolderDraft;
    #[wasm_bindgen(method, catch)]
    async fn write(this: &JsFolderDraft, name: &str, part: Uint8Array) -> JsResult<JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn close(this: &JsFolderDraft) -> JsResult<JsValue>;
    #[wasm_bindgen(method)]
    async fn abort(this: &JsFolderDraft);
}

impl JsStore {
    fn failed(&self, what: &str, error: &JsValue) -> Error {
        Error::io(format!("{}/{what}", self.name()), describe(error))
    }
}

impl Store for JsStore {
    fn name(&self) -> String {
        JsStore::name(self)
    }

    async fn entries(&self) -> Result<Vec<String>> {
        let names = JsStore::entries(self).await.map_err(|error| self.failed("", &error))?;
        Ok(Array::from(&names).iter().filter_map(|name| name.as_string()).collect())
    }

    async fn bytes(&self) -> Result<u64> {
        let bytes = JsStore::bytes(self).await.map_err(|error| self.failed("", &error))?;
        Ok(bytes.as_f64().unwrap_or_default() as u64)
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let bytes = JsStore::read(self, path).await.map_err(|error| self.failed(path, &error))?;
        Ok((!bytes.is_null()).then(|| Uint8Array::from(bytes).to_vec()))
    }

    async fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = JsStore::write(self, name, Uint8Array::from(bytes)).await;
        written.map(drop).map_err(|error| self.failed(name, &error))
    }

    async fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = JsStore::append(self, name, Uint8Array::from(bytes)).await;
        written.map(drop).map_err(|error| self.failed(name, &error))
    }

    /// The files lie there one after the other.
    async fn write_folder(&mut self, name: &str, mut files: Parts<'_>) -> Result<()> {
        let draft = self.open_folder(name).await.map_err(|error| self.failed(name, &error))?;
        let written = async {
            while let Some(part) = files.next().await? {
                let written = draft.write(part.name, Uint8Array::from(&part.bytes[..])).await;
                written.map_err(|error| self.failed(name, &error))?;
            }
            draft.close().await.map(drop).map_err(|error| self.failed(name, &error))
        }
        .await;
        if written.is_err() {
            draft.abort().await;
        }
        written
    }

    async fn remove_folder(&mut self, name: &str) -> Result<()> {
        JsStore::remove_folder(self, name).await.map(drop).map_err(|error| self.failed(name, &error))
    }
}

/// Files as the page takes them: `[{name, bytes}]`.
pub fn named_files(files: &[File]) -> JsResult<Array> {
    let object = |file: &File| {
        let object = Object::new();
        for (key, value) in [("name", file.name.into()), ("bytes", Uint8Array::from(&file.bytes[..]).into())] {
            Reflect::set(&object, &key.into(), &value)?;
        }
        Ok(JsValue::from(object))
    };
    files.iter().map(object).collect()
}
