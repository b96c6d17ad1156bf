//! How much memory a card has of its own, which `wgpu` does not say.

/// Bytes of the largest heap on the device; none where the driver does not say.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`.
    const ON_DEVICE: u32 = 1;
    // SAFETY: the handle is only asked for properties, and not kept.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::vulkan::Api>() }?;
    let instance = adapter.shared_instance().raw_instance();
    // SAFETY: the physical device is this instance's, which the adapter keeps.
    let memory = unsafe { instance.get_physical_device_memory_properties(adapter.raw_physical_device()) };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & ON_DEVICE != 0).map(|heap| heap.size).max()
}

/// Not known yet.
#[cfg(target_vendor = "apple")]
pub(crate) fn bytes(_: &wgpu::Adapter) -> Option<u64> {
    None
}
