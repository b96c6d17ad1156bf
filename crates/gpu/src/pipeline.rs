//! From a kernel to something that a device runs.

use crate::{kernel::Kernel, wait::now};

/// A compiled kernel, and what it is bound to.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

fn binding(index: usize, read_only: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: index as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

/// Compiles a kernel.
///
/// # Errors
/// What the driver says against it.
pub(crate) fn compile(
    device: &wgpu::Device,
    kernel: Kernel,
    cache: Option<&wgpu::PipelineCache>,
) -> Result<Pipeline, String> {
    let [tensors, params] = kernel.program.bindings();
    let name = format!("{kernel:?}");
    let filters = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory];
    let [validation, internal, memory] = filters.map(|filter| device.push_error_scope(filter));
    let bindings: Vec<_> = (0..tensors + params).map(|index| binding(index, index >= tensors)).collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&name), entries: &bindings });
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(&name), source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()) };
    // SAFETY: the kernels are our own. They read and write within their bindings, which hold what the shapes say, all their loops
    // end, and they divide by nothing that is zero.
    let module = unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 4 * kernel.program.words() as u32,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache,
    });
    let errors = [now(memory.pop()), now(internal.pop()), now(validation.pop())];
    match errors.into_iter().flatten().flatten().next() {
        Some(error) => Err(format!("the kernel {name} can't be compiled: {error}")),
        None => Ok(Pipeline { pipeline, layout }),
    }
}
