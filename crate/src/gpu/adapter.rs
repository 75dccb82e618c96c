//! The adapters of a computer: what is told of them, and what kernels may ask of them.

use serde::Serialize;

use crate::{Error, Result};

/// What a person may want to know of the adapter in use.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInfo {
    /// The adapter's own name.
    pub name: String,
    /// "vulkan", "metal", "dx12" or "webgpu".
    pub backend: String,
    /// The driver and its version, where the platform tells.
    pub driver: String,
    /// Whether the adapter is a processor pretending to be a GPU: it works, slowly.
    pub software: bool,
    /// Limits by WebGPU name, in bytes or counts: of a context, those in use.
    pub limits: std::collections::BTreeMap<&'static str, u64>,
    /// Optional features: of a context, those that are on.
    pub features: Vec<String>,
}

impl DeviceInfo {
    pub(super) fn new(adapter: wgpu::AdapterInfo, limits: &wgpu::Limits, features: &[String]) -> Self {
        let software = is_software(&adapter);
        Self {
            name: adapter.name,
            backend: if cfg!(target_arch = "wasm32") { "webgpu".into() } else { adapter.backend.to_string() },
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            software,
            limits: [
                ("maxBufferSize", limits.max_buffer_size),
                ("maxStorageBufferBindingSize", limits.max_storage_buffer_binding_size),
                ("maxStorageBuffersPerShaderStage", u64::from(limits.max_storage_buffers_per_shader_stage)),
                ("maxComputeWorkgroupStorageSize", u64::from(limits.max_compute_workgroup_storage_size)),
                ("maxComputeInvocationsPerWorkgroup", u64::from(limits.max_compute_invocations_per_workgroup)),
                ("maxComputeWorkgroupsPerDimension", u64::from(limits.max_compute_workgroups_per_dimension)),
            ]
            .into(),
            features: features.to_vec(),
        }
    }
}

/// Whether the adapter is a processor pretending to be a GPU.
pub(super) fn is_software(adapter: &wgpu::AdapterInfo) -> bool {
    let words = format!("{} {}", adapter.name, adapter.driver_info).to_lowercase();
    adapter.device_type == wgpu::DeviceType::Cpu
        || ["llvmpipe", "swiftshader", "lavapipe", "basic render"].iter().any(|word| words.contains(word))
}

/// Every adapter of this computer, with the limits and features that it has, whether we use them or not.
///
/// # Errors
/// [`Error::NoAdapter`] when there is none.
#[cfg(not(target_arch = "wasm32"))]
pub async fn adapters() -> Result<Vec<DeviceInfo>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    if adapters.is_empty() {
        return Err(no_adapter("there is none on this computer".into()));
    }
    let info = |adapter: &wgpu::Adapter| {
        let features: Vec<String> = adapter.features().iter_names().map(|(name, _)| name.to_lowercase()).collect();
        DeviceInfo::new(adapter.get_info(), &adapter.limits(), &features)
    };
    Ok(adapters.iter().map(info).collect())
}

/// The error where there is no adapter, or none for us.
pub(super) fn no_adapter(what: String) -> Error {
    Error::NoAdapter {
        what,
        help: "update the graphics driver; on a machine without a GPU install a software Vulkan driver (Mesa's \
               lavapipe); in a browser check that WebGPU is switched on"
            .into(),
    }
}

/// The features that our kernels use an adapter's matrix units with: 16 x 16 x 16 halves to f32, in subgroups of 32 lanes.
pub(super) fn matrix_units(adapter: &wgpu::Adapter) -> Result<wgpu::Features> {
    let features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    let info = adapter.get_info();
    let lanes = info.subgroup_min_size == 32 && info.subgroup_max_size == 32;
    let ours = |kind: &wgpu::CooperativeMatrixProperties| {
        [kind.m_size, kind.n_size, kind.k_size] == [16; 3]
            && kind.ab_type == wgpu::CooperativeScalarType::F16
            && kind.cr_type == wgpu::CooperativeScalarType::F32
    };
    if adapter.features().contains(features) && lanes && adapter.cooperative_matrix_properties().iter().any(ours) {
        return Ok(features);
    }
    Err(Error::Config {
        field: "fp16".into(),
        what: format!("{} has no matrix units that multiply halves for us", info.name),
        help: "leave it out; it is for GPUs that have them, such as NVIDIA's, and not for browsers".into(),
    })
}
