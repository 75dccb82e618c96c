//! The only place that names wgpu: the device, its limits, the kernels, and plans of dispatches.

mod arena;
mod buffer;
mod context;
mod forms;
mod kernel;
mod pace;
mod pipeline;
mod plan;
mod profile;
mod readback;
mod recorder;
mod subgroup;

pub use buffer::{Buffer, Bytes};
#[cfg(not(target_arch = "wasm32"))]
pub use context::adapters;
pub use context::{Context, DeviceInfo, Features};
pub use forms::{Choices, Form, Tunable};
pub use kernel::{Access, Kernel, kernels};
pub use plan::{Plan, PlanStats};
pub use profile::KernelTime;
pub use readback::Readback;
pub use recorder::{Binding, BufferId, Recorder, spread, stride};
