//! Files of the browser: the person's, and those of its own storage; and the hash of what goes into one.

use js_sys::{Reflect, Uint8Array};
use sha2::Digest;
use wasm_bindgen::prelude::*;

use super::js::JsResult;
use crate::format::gguf::Gguf;
use crate::format::source::ReadAt;
use crate::train::Spill;
use crate::{Error, Result, model};

/// A file of the page, read piece by piece: it is never whole in wasm memory.
pub struct PageFile {
    name: String,
    file: web_sys::File,
    reader: web_sys::FileReaderSync,
}

impl PageFile {
    /// # Errors
    /// Where no such reader is to be had: outside of a worker.
    pub fn new(file: web_sys::File) -> Result<Self> {
        let name = file.name();
        let reader = web_sys::FileReaderSync::new().map_err(|error| Error::io(&name, describe(&error)))?;
        Ok(Self { name, file, reader })
    }
}

impl ReadAt for PageFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.file.size() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > self.len() {
            return Err(Error::io(&self.name, format!("it ends at byte {} and {end} were expected", self.len())));
        }
        let failed = |error: JsValue| Error::io(&self.name, format!("it could not be read: {}", describe(&error)));
        let piece = self.file.slice_with_f64_and_f64(offset as f64, end as f64).map_err(failed)?;
        let bytes = Uint8Array::new(&self.reader.read_as_array_buffer(&piece).map_err(failed)?.into());
        if bytes.length() as usize != buf.len() {
            return Err(Error::io(&self.name, "the file changed while it was read"));
        }
        bytes.copy_to(buf);
        Ok(())
    }
}

#[wasm_bindgen]
extern "C" {
    /// A file of the browser's own storage, as the page hands it over: both say how many bytes went.
    #[wasm_bindgen(typescript_type = "Spill")]
    pub type JsSpill;
    #[wasm_bindgen(method, catch)]
    fn write(this: &JsSpill, bytes: &[u8], at: f64) -> JsResult<f64>;
    #[wasm_bindgen(method, catch)]
    fn read(this: &JsSpill, bytes: &mut [u8], at: f64) -> JsResult<f64>;
}

impl Spill for JsSpill {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let outcome = JsSpill::write(self, bytes, at as f64);
        whole(outcome, bytes.len())
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let outcome = JsSpill::read(self, bytes, at as f64);
        whole(outcome, bytes.len())
    }
}

fn whole(outcome: JsResult<f64>, expected: usize) -> Result<()> {
    match outcome {
        Ok(went) if went == expected as f64 => Ok(()),
        Ok(went) => Err(Error::io("the browser's storage", format!("{went} of {expected} bytes went"))),
        Err(error) => Err(Error::io("the browser's storage", describe(&error))),
    }
}

/// Opens a model from its files.
///
/// # Errors
/// As [`PageFile::new`] and [`model::files::open`].
pub fn open_model(name: &str, files: &[web_sys::File]) -> Result<Gguf> {
    let source = |file: &web_sys::File| PageFile::new(file.clone()).map(|file| Box::new(file) as Box<dyn ReadAt>);
    model::files::open(name, files.iter().map(source).collect::<Result<_>>()?)
}

/// What an exception says.
pub fn describe(error: &JsValue) -> String {
    Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string()).unwrap_or_default()
}

/// SHA-256 of a stream of bytes.
#[wasm_bindgen]
#[derive(Default)]
pub struct Sha256(sha2::Sha256);

#[wasm_bindgen]
impl Sha256 {
    /// Nothing hashed yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything so far, in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
