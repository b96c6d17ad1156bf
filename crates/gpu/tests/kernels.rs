//! Every generated kernel, without a device: it is valid, becomes SPIR-V and Metal's language, and is as large as the table says.
//!
//! `UPDATE_GPU_TABLES=1` writes the table anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::Write;

use naga::{
    AddressSpace,
    back::{msl, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/kernels.txt");

fn valid(name: &str, wgsl: &str) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(wgsl)
        .unwrap_or_else(|error| panic!("{wgsl}\n{name}: {}", error.emit_to_string(wgsl)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{wgsl}\n{name}: {}", error.emit_to_string(wgsl)));
    (module, info)
}

/// Of a kernel: threads of a workgroup, bytes of its memory, buffers, and instructions of its SPIR-V.
fn statistics(module: &naga::Module, words: &[u32]) -> [u32; 4] {
    let [x, y, z] = module.entry_points[0].workgroup_size;
    let variables = || module.global_variables.iter().map(|(_, variable)| variable);
    let shared = variables().filter(|variable| variable.space == AddressSpace::WorkGroup);
    let bytes = shared.map(|variable| module.types[variable.ty].inner.size(module.to_ctx())).sum();
    let buffers = variables().filter(|variable| matches!(variable.space, AddressSpace::Storage { .. })).count();
    // After five words each instruction begins with its length.
    let (mut at, mut instructions) = (5, 0);
    while let Some(&word) = words.get(at) {
        at += (word >> 16).max(1) as usize;
        instructions += 1;
    }
    [x * y * z, bytes, buffers as u32, instructions]
}

#[test]
fn every_kernel_is_valid_for_vulkan_and_metal() {
    let kernels = calotype_gpu::kernels();
    assert!(kernels.len() > 60);
    let mut table = "threads  bytes shared  buffers  instructions  kernel\n".to_owned();
    for (name, wgsl) in kernels {
        let (module, info) = valid(&name, &wgsl);
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let words = spv::write_vec(&module, &info, &options, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let [threads, bytes, buffers, instructions] = statistics(&module, &words);
        // What every card has; those with matrices are asked for theirs.
        let most = if name.contains("Matri") { 48 << 10 } else { 25 << 10 };
        assert!(threads <= 256 && bytes <= most, "{name}: {threads} threads, {bytes} bytes");
        writeln!(table, "{threads:>7} {bytes:>13} {buffers:>8} {instructions:>13}  {name}").unwrap();
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let (source, _) = msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(source.contains("kernel void"), "{name}");
    }
    if std::env::var_os("UPDATE_GPU_TABLES").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(TABLE).unwrap_or_default(), "UPDATE_GPU_TABLES=1 if it is meant");
}
