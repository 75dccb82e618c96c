//! Pipelines: kernels compiled for a device.

use super::kernel::{Access, Kernel};

/// Compiles kernels, in order, side by side where there are threads: some drivers take long. `checked`: whether they check
/// their loops and their indices into workgroup memory.
pub(super) fn compile_all(
    device: &wgpu::Device,
    kernels: &[&'static Kernel],
    checked: bool,
) -> Vec<wgpu::ComputePipeline> {
    #[cfg(target_arch = "wasm32")]
    return kernels.iter().map(|kernel| compile(device, kernel, checked)).collect();
    #[cfg(not(target_arch = "wasm32"))]
    return side_by_side(kernels, |kernel| compile(device, kernel, checked));
}

/// What `work` makes of each item, in order, on as many threads as there are processors.
#[cfg(not(target_arch = "wasm32"))]
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || {
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(item) = items.get(index) else { return made };
            made.push((index, work(item)));
        }
    };
    let mut made: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a compiler does not panic")).collect()
    });
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, result)| result).collect()
}

fn compile(device: &wgpu::Device, kernel: &'static Kernel, checked: bool) -> wgpu::ComputePipeline {
    let source = wgpu::ShaderSource::Wgsl(kernel.wgsl().into());
    let described = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
    let module = if checked {
        device.create_shader_module(described)
    } else {
        // Every index into workgroup memory costs an instruction more with its check, which is a tenth of a product's time.
        // SAFETY: the kernels are ours; the op tests run each of them between sentinels, those for GPUs with checks. Vulkan's
        // drivers keep accesses to storage within its bindings themselves.
        unsafe { device.create_shader_module_trusted(described, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
    for (index, access) in kernel.bindings.iter().enumerate() {
        let read_only = *access == Access::Read;
        entries.push(entry(index as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, false));
    }
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(kernel.name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(kernel.name),
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        // Every kernel writes its workgroup memory before it reads it.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}
