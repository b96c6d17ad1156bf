//! Memory that was freed, back to the system.

/// Gives the system what the allocator keeps of freed memory. GNU's does so by itself only for what lies at the end of a heap, and a process
/// that lives long grows by what lies between. With another allocator it does nothing.
pub fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it locks each heap, and touches nothing but free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
