//! How much memory a card has of its own and how much of it is free, which `wgpu` does not say.

/// Bytes of a heap on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heap {
    /// All of it.
    pub(crate) size: u64,
    /// What this process may still take (`VK_EXT_memory_budget`); none where the driver does not say.
    pub(crate) free: Option<u64>,
}

/// The largest heap on the device; none where the driver does not say.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn largest(adapter: &wgpu::Adapter) -> Option<Heap> {
    use ash::{ext, vk};

    // SAFETY: the handle is only asked for properties, and not kept.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::vulkan::Api>() }?;
    let instance = adapter.shared_instance();
    let has_budget = adapter.physical_device_capabilities().supports_extension(ext::memory_budget::NAME);
    // The question is a part of Vulkan since 1.1: a loader that knows only 1.0 has no function for it.
    let is_asked = has_budget && instance.instance_api_version() >= vk::API_VERSION_1_1;
    let (instance, device) = (instance.raw_instance(), adapter.raw_physical_device());
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default();
    let memory = if is_asked {
        properties = properties.push_next(&mut budget);
        // SAFETY: the physical device is this instance's, which the adapter keeps; the instance is of Vulkan 1.1 or later, the device
        // has the extension of the structure in the chain, and that lives until after the call.
        unsafe { instance.get_physical_device_memory_properties2(device, &mut properties) };
        properties.memory_properties
    } else {
        // SAFETY: the physical device is this instance's, which the adapter keeps.
        unsafe { instance.get_physical_device_memory_properties(device) }
    };
    let free = |n: usize| is_asked.then(|| budget.heap_budget[n].saturating_sub(budget.heap_usage[n]));
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize).enumerate();
    let on_device = heaps.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    on_device.map(|(n, heap)| Heap { size: heap.size, free: free(n) }).max_by_key(|heap| heap.size)
}

/// Not known yet.
#[cfg(target_vendor = "apple")]
pub(crate) fn largest(_: &wgpu::Adapter) -> Option<Heap> {
    None
}
