//! The kernels, for who wants to know that a browser compiles all of them.

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::js::to_js;
use crate::gpu::kernels;

/// Every kernel in every form, `[{name, wgsl}]`, as browsers are given it.
#[wasm_bindgen(js_name = kernels)]
pub fn all() -> JsValue {
    let all = kernels::ALL.iter().map(|kernel| json!({ "name": kernel.name, "wgsl": kernel.wgsl() }));
    to_js(&all.collect::<Vec<_>>())
}
