//! Subgroups: the lanes of an adapter that run in step and can read each other's registers.
//!
//! An adapter that runs on a processor has its vector's lanes, 4 or 8 of them, and there a broadcast is far cheaper than
//! workgroup memory with its barriers. The subgroups of GPUs are wider, and their workgroup memory is fast: they get the
//! plain kernels.

use super::Kernel;
#[cfg(not(target_arch = "wasm32"))]
use super::context::is_software;

/// Lanes of a subgroup that kernels are written for.
const LANES: [u32; 2] = [4, 8];

/// Lanes of a software adapter's subgroups, where there are kernels for that many and it has no other number; else 0.
/// The device must be asked for with the feature.
#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn usable(adapter: &wgpu::Adapter) -> (u32, wgpu::Features) {
    let info = adapter.get_info();
    let fixed = info.subgroup_min_size == info.subgroup_max_size && LANES.contains(&info.subgroup_min_size);
    if fixed && is_software(&info) && adapter.features().contains(wgpu::Features::SUBGROUP) {
        (info.subgroup_min_size, wgpu::Features::SUBGROUP)
    } else {
        (0, wgpu::Features::empty())
    }
}

/// As on other platforms, but that the next device is asked for with the feature behind wgpu's back.
#[cfg(target_arch = "wasm32")]
pub(super) async fn usable(_: &wgpu::Adapter) -> (u32, wgpu::Features) {
    use wasm_bindgen::prelude::wasm_bindgen;
    #[wasm_bindgen(module = "/src/gpu/subgroups.js")]
    extern "C" {
        #[wasm_bindgen(js_name = askForSubgroups)]
        async fn ask_for_subgroups() -> wasm_bindgen::JsValue;
    }
    let lanes = ask_for_subgroups().await.as_f64().map_or(0, |lanes| lanes as u32);
    (if LANES.contains(&lanes) { lanes } else { 0 }, wgpu::Features::empty())
}

/// The source as this platform's compiler takes it: browsers want the feature named, and naga does not know its name.
pub(super) fn source(kernel: &Kernel) -> std::borrow::Cow<'static, str> {
    if cfg!(target_arch = "wasm32") && kernel.subgroup > 0 {
        format!("enable subgroups;\n{}", kernel.source).into()
    } else {
        kernel.source.into()
    }
}
