//! What a session's model answers.

use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::js::{JsResult, thrown, to_js};
use super::{Session, json_text, wrong_options};
use crate::Result;
use crate::generate::{self, Generator, Said, Sampling};
use crate::text::Message;

#[derive(serde::Deserialize)]
struct Options {
    adapter: Option<u32>,
    #[serde(default = "all")]
    adapter_scale: f32,
    /// Answers, written side by side.
    count: usize,
    max_new_tokens: usize,
    temperature: f32,
    top_p: f32,
    seed: u64,
}

fn all() -> f32 {
    1.0
}

#[wasm_bindgen]
impl Session {
    /// Answers a conversation as many times as asked; `on_text` is given the text as it comes and which answer it belongs to,
    /// and returns false to stop that one.
    pub async fn generate(&self, messages: JsValue, options: JsValue, on_text: Function) -> JsResult<JsValue> {
        self.answer(&messages, &options, &on_text).await.map_err(thrown)
    }
}

impl Session {
    async fn answer(&self, messages: &JsValue, options: &JsValue, on_text: &Function) -> Result<JsValue> {
        let model = self.model()?;
        let options: Options = serde_json::from_str(&json_text(options)).map_err(wrong_options)?;
        let messages: Vec<Message> = serde_json::from_str(&json_text(messages)).map_err(wrong_options)?;
        let adapter = match options.adapter {
            Some(id) => Some(self.adapter(id)?.scaled(model, options.adapter_scale).await?),
            None => None,
        };
        let adapter = adapter.as_deref();
        let prompt = generate::chat_ids(model, &messages)?;
        let virtual_tokens = adapter.map_or(0, |peft| peft.virtual_tokens());
        let room = virtual_tokens + prompt.len() + options.max_new_tokens;
        let generator = Generator::new(&**model, adapter, room, options.count)?;
        let sampling = Sampling {
            max_new_tokens: options.max_new_tokens,
            temperature: options.temperature,
            top_p: options.top_p,
            seed: options.seed,
            ..Sampling::default()
        };
        let go_on = |answer: usize, said: Said| {
            let Said::Text(piece) = said else { return true };
            let told = on_text.call2(&JsValue::NULL, &piece.into(), &(answer as u32).into());
            // Only a clear "no" stops.
            told.map_or(true, |told| told.as_bool() != Some(false))
        };
        let answers = generator.generate_all(&vec![&prompt[..]; options.count], sampling, go_on).await?;
        let told = |answer: &generate::Generated| {
            json!({
                "text": answer.text,
                "tokens": answer.ids.len(),
                "stop": answer.stop,
                "tokens_per_second": answer.tokens_per_second,
            })
        };
        Ok(to_js(&Value::from_iter(answers.iter().map(told))))
    }
}
