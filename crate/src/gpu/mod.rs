//! The only place that names wgpu: the device, its limits, the kernels, and plans of dispatches.

mod adapter;
mod arena;
mod buffer;
mod context;
mod expand;
mod forms;
mod kernel;
mod pace;
mod pipeline;
mod plan;
mod profile;
mod readback;
mod recorder;
mod slots;
mod subgroup;
mod turns;

pub use adapter::DeviceInfo;
#[cfg(not(target_arch = "wasm32"))]
pub use adapter::adapters;
pub use buffer::{Buffer, Bytes};
pub use context::{Context, Features};
pub use forms::{Choices, Form, Tunable};
pub use kernel::{Access, Kernel, kernels};
pub use plan::{Plan, PlanStats};
pub use profile::KernelTime;
pub use readback::Readback;
pub use recorder::{Binding, BufferId, Recorder, spread, stride};
pub use turns::Turns;
