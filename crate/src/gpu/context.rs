//! The device and the compiled kernels.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use super::adapter::{DeviceInfo, is_software, matrix_units, no_adapter};
use super::arena::Arena;
use super::buffer::{Buffer, Bytes, Tally};
use super::forms::{Choices, Form, Forms, Tunable};
use super::kernel::Kernel;
use super::pace::Pace;
use super::pipeline;
use super::subgroup;
use super::turns::Turns;
use crate::error::GpuFailure;
use crate::{Error, Result};

/// Which of an adapter's optional features a device is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// Those that some kernels are faster with.
    Fast,
    /// Those too that products are made with in half precision, on a GPU's matrix units.
    Half,
    /// None: what every browser has. Kernels also check their loops and their indices, as they do there.
    Plain,
}

/// A device with its queue and its compiled kernels. Cheap to clone.
#[derive(Clone)]
pub struct Context(Rc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: DeviceInfo,
    pipelines: RefCell<HashMap<usize, wgpu::ComputePipeline>>,
    failure: Arc<Mutex<Option<Error>>>,
    is_lost: Cell<Option<oneshot::Receiver<()>>>,
    /// Buffers until one fails, where that is tried.
    failing: Cell<Option<usize>>,
    subgroup: u32,
    half: bool,
    checked: bool,
    pace: Pace,
    turns: Turns,
    submits: Cell<usize>,
    rehearsal: bool,
    tally: Tally,
    arena: Arena,
    forms: Rc<Forms>,
}

impl Context {
    /// Requests an adapter and a device with WebGPU's default limits, whatever the adapter could do beyond them, and
    /// with those of its optional features that some kernels are faster with.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when there is none, [`Error::Gpu`] when the device is refused.
    pub async fn new() -> Result<Self> {
        Self::with(Features::Fast).await
    }

    /// As [`Context::new`], with a choice of features.
    ///
    /// # Errors
    /// As [`Context::new`]; and [`Error::Config`] for [`Features::Half`] where the adapter has no such units.
    pub async fn with(wanted: Features) -> Result<Self> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })
            .await
            .map_err(|error| no_adapter(error.to_string()))?;
        let adapter_info = adapter.get_info();
        let adapter_backend = adapter_info.backend;
        let limits = wgpu::Limits::default();
        let subgroups = match wanted {
            Features::Fast | Features::Half => subgroup::Wanted::of(&adapter),
            Features::Plain => subgroup::Wanted::none(),
        };
        // Only a profile reads clocks. A processor's are its host's, and a browser's are too coarse.
        let timestamps = match wanted {
            Features::Fast | Features::Half if !cfg!(target_arch = "wasm32") && !is_software(&adapter_info) => {
                adapter.features() & wgpu::Features::TIMESTAMP_QUERY
            }
            _ => wgpu::Features::empty(),
        };
        let half = wanted == Features::Half;
        let matrices = if half { matrix_units(&adapter)? } else { wgpu::Features::empty() };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("tunesmith"),
                required_features: subgroups.features | timestamps | matrices,
                required_limits: limits.clone(),
                experimental_features: if half {
                    // SAFETY: the kernels that use the matrix units are ours, and stay within what they are given.
                    unsafe { wgpu::ExperimentalFeatures::enabled() }
                } else {
                    wgpu::ExperimentalFeatures::disabled()
                },
                ..Default::default()
            })
            .await
            .map_err(|error| Error::Gpu {
                failure: GpuFailure::Fault,
                what: error.to_string(),
                help: "the adapter is below WebGPU's default limits: try another browser, driver or GPU".into(),
            })?;
        let failure = Arc::new(Mutex::new(None));
        let sink = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = match &error {
                wgpu::Error::OutOfMemory { .. } => Error::out_of_memory(),
                other => Error::Gpu {
                    failure: GpuFailure::Fault,
                    what: other.to_string(),
                    help: "this is a fault in Tunesmith: please report it with this message".into(),
                },
            };
            sink.lock().unwrap().get_or_insert(error);
        }));
        let sink = failure.clone();
        let (lost, is_lost) = oneshot::channel();
        let lost = Mutex::new(Some(lost));
        let turns = Turns::default();
        let ended = turns.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                // Whatever else is said from now on comes of that.
                *sink.lock().unwrap() = Some(Error::device_lost(message));
                ended.give_up();
                if let Some(lost) = lost.lock().unwrap().take() {
                    // Where nobody listens, the next call finds out.
                    let _ = lost.send(());
                }
            }
        });
        let subgroup = subgroups.lanes();
        let on =
            [("subgroup", subgroup > 0), ("timestamp-query", !timestamps.is_empty()), ("cooperative-matrix", half)];
        let names: Vec<String> = on.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect();
        let software = is_software(&adapter_info);
        let info = DeviceInfo::new(adapter_info, &limits, &names);
        Ok(Self(Rc::new(Inner {
            device,
            queue,
            info,
            pipelines: RefCell::default(),
            failure,
            is_lost: Cell::new(Some(is_lost)),
            failing: Cell::default(),
            subgroup,
            half,
            checked: wanted == Features::Plain || adapter_backend != wgpu::Backend::Vulkan,
            pace: Pace::default(),
            turns,
            submits: Cell::default(),
            rehearsal: false,
            tally: Tally::default(),
            arena: Arena::default(),
            forms: Rc::new(Forms::new(software)),
        })))
    }

    /// A context for this device on which nothing exists: buffers are counted and not made, what is written is dropped,
    /// what is read is zeros, and plans do nothing. What goes through it tells what memory it would need.
    pub fn rehearsal(&self) -> Self {
        Self(Rc::new(Inner {
            device: self.0.device.clone(),
            queue: self.0.queue.clone(),
            info: self.0.info.clone(),
            pipelines: RefCell::default(),
            failure: self.0.failure.clone(),
            is_lost: Cell::default(),
            failing: Cell::default(),
            subgroup: self.0.subgroup,
            half: self.0.half,
            checked: self.0.checked,
            pace: Pace::default(),
            turns: Turns::default(),
            submits: Cell::default(),
            rehearsal: true,
            tally: Tally::default(),
            arena: Arena::default(),
            forms: Rc::new(self.0.forms.rehearsal()),
        }))
    }

    /// The forms that work is done in from now on, where they were chosen.
    pub fn forms(&self) -> Choices {
        self.0.forms.choices()
    }

    /// Chooses the forms of some classes of work: see [`Tunable::class`].
    pub fn choose_forms(&self, choices: Choices) {
        self.0.forms.choose(choices);
    }

    /// Does all work recorded from now on in one form, where it has that on the device, whatever was chosen.
    pub fn force_form(&self, form: Option<Form>) {
        self.0.forms.force(form);
    }

    /// The work recorded so far that has forms.
    pub fn tunables(&self) -> Vec<Tunable> {
        self.0.forms.seen()
    }

    pub(super) fn shared_forms(&self) -> &Rc<Forms> {
        &self.0.forms
    }

    /// Whether nothing exists on it.
    pub fn is_rehearsal(&self) -> bool {
        self.0.rehearsal
    }

    /// Bytes of its buffers: what was asked for, whatever the driver adds.
    pub fn bytes(&self) -> Bytes {
        self.0.tally.get()
    }

    /// Lanes of the subgroups that kernels may use; 0 where they may use none.
    pub fn subgroup(&self) -> u32 {
        self.0.subgroup
    }

    /// Whether products are made in half precision, where they can be.
    pub fn half(&self) -> bool {
        self.0.half
    }

    /// The adapter in use.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// The first error the device reported outside a call: out of memory, a lost device, a fault of ours.
    ///
    /// # Errors
    /// That error; it stays, for the device can no longer be trusted.
    pub fn check(&self) -> Result<()> {
        self.0.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    /// Forgets that the device ran out of memory, once what was asked of it is given back: what it holds is as it was.
    pub fn forgive_out_of_memory(&self) {
        let mut failure = self.0.failure.lock().unwrap();
        if failure.as_ref().is_some_and(|error| error.code() == Error::out_of_memory().code()) {
            *failure = None;
        }
    }

    /// Makes the buffer after `count` more fail as one does for which the device has no memory: to try what comes of that.
    pub fn fail_allocation(&self, count: usize) {
        self.0.failing.set(Some(count));
    }

    /// Comes when the device is lost, also while nothing is asked of it. It can be had once.
    pub fn lost(&self) -> Option<impl Future<Output = ()> + use<>> {
        let is_lost = self.0.is_lost.take()?;
        Some(async {
            if is_lost.await.is_err() {
                // A device that was given up is not lost.
                std::future::pending::<()>().await;
            }
        })
    }

    pub(super) fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub(super) fn arena(&self) -> &Arena {
        &self.0.arena
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// What leaves work between two submits, and takes it up again.
    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Most bytes that one binding may hold.
    pub fn binding_limit(&self) -> u64 {
        self.0.info.limits["maxStorageBufferBindingSize"]
    }

    /// A zeroed storage buffer.
    ///
    /// # Errors
    /// [`Error::Limit`] when `bytes` is past what one binding may hold.
    pub fn buffer(&self, what: &str, bytes: u64) -> Result<Buffer> {
        let limit = self.binding_limit();
        if bytes > limit {
            return Err(Error::Limit {
                what: what.into(),
                needed: bytes,
                limit_name: "maxStorageBufferBindingSize".into(),
                limit,
                help: "use a smaller model, or a shorter max_length".into(),
            });
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        // Never empty, and a whole number of vec4.
        Ok(self.make(what, bytes.max(16).next_multiple_of(16), usage))
    }

    fn make(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> Buffer {
        match self.0.failing.get() {
            // Such a buffer is there, and what the device does with it counts for nothing.
            Some(0) => {
                self.0.failure.lock().unwrap().get_or_insert(Error::out_of_memory());
                self.0.failing.set(None);
            }
            Some(count) => self.0.failing.set(Some(count - 1)),
            None => {}
        }
        let describe = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let device = (!self.0.rehearsal).then(|| self.0.device.create_buffer(&describe));
        Buffer::new(size, device, &self.0.tally)
    }

    /// A storage buffer that holds `data`.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn buffer_with<T: bytemuck::Pod>(&self, what: &str, data: &[T]) -> Result<Buffer> {
        let buffer = self.buffer(what, size_of_val(data) as u64)?;
        self.write(&buffer, 0, data);
        Ok(buffer)
    }

    /// Writes `data` at byte `offset`, before anything submitted later.
    pub fn write<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, data: &[T]) {
        if let Some(buffer) = buffer.device() {
            self.0.queue.write_buffer(buffer, offset, bytemuck::cast_slice(data));
        }
    }

    /// Frees the staging memory of the writes so far: wgpu keeps it until the next submit.
    pub fn flush(&self) {
        self.0.queue.submit([]);
    }

    /// Fills whole buffers with zeros.
    pub fn clear<'a>(&self, buffers: impl IntoIterator<Item = &'a Buffer>) {
        if self.0.rehearsal {
            return;
        }
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        for buffer in buffers.into_iter().filter_map(|buffer| buffer.device()) {
            encoder.clear_buffer(buffer, 0, None);
        }
        self.submit(encoder);
    }

    /// Hands commands to the device, and counts that.
    pub(super) fn submit(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        self.0.submits.set(self.0.submits.get() + 1);
        self.0.queue.submit([encoder.finish()])
    }

    /// Submits of commands so far, uploads not counted.
    pub fn submits(&self) -> usize {
        self.0.submits.get()
    }

    /// Bytes of every buffer that lives on the device now, staging memory included; `None` where the backend does not
    /// tell.
    pub fn allocated_bytes(&self) -> Option<u64> {
        self.0.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    pub(super) fn uniform(&self, data: &[u8]) -> Buffer {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.make("parameters", data.len() as u64, usage);
        self.write(&buffer, 0, data);
        buffer
    }

    /// Room for so many of the device's timestamps, 8 bytes each.
    pub(super) fn timestamps(&self, count: u32) -> Buffer {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        self.make("timestamps", u64::from(count) * 8, usage)
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// What [`Context::check`] finds.
    pub async fn wait(&self) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        #[cfg(not(target_arch = "wasm32"))]
        self.poll(None)?;
        let _ = receiver.await;
        self.check()
    }

    /// Waits for a submission (or the last one), so that its callbacks run; a browser runs them by itself.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn poll(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: None };
        self.0.device.poll(wait).map(|_| ()).map_err(Error::device_lost)
    }

    /// Compiles those of the kernels that are not yet, side by side where there are threads: some drivers take long.
    pub(super) fn compile(&self, kernels: impl Iterator<Item = &'static Kernel>) {
        let mut pipelines = self.0.pipelines.borrow_mut();
        let mut missing: Vec<&Kernel> = kernels.filter(|kernel| !pipelines.contains_key(&kernel.index)).collect();
        missing.sort_by_key(|kernel| kernel.index);
        missing.dedup_by_key(|kernel| kernel.index);
        let compiled = pipeline::compile_all(&self.0.device, &missing, self.0.checked);
        pipelines.extend(missing.iter().map(|kernel| kernel.index).zip(compiled));
    }

    /// The pipeline of a kernel, compiled on first use.
    pub(super) fn pipeline(&self, kernel: &'static Kernel) -> wgpu::ComputePipeline {
        self.compile(std::iter::once(kernel));
        self.0.pipelines.borrow()[&kernel.index].clone()
    }
}
