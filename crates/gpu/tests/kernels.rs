//! Every generated kernel, without a device: it is valid, and becomes SPIR-V and Metal's language.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use naga::{
    back::{msl, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

fn valid(name: &str, wgsl: &str) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(wgsl)
        .unwrap_or_else(|error| panic!("{wgsl}\n{name}: {}", error.emit_to_string(wgsl)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{wgsl}\n{name}: {}", error.emit_to_string(wgsl)));
    (module, info)
}

#[test]
fn every_kernel_is_valid_for_vulkan_and_metal() {
    let kernels = calotype_gpu::kernels();
    assert!(kernels.len() > 60);
    for (name, wgsl) in kernels {
        let (module, info) = valid(&name, &wgsl);
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let words = spv::write_vec(&module, &info, &options, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(words.len() > 200, "{name}: {} words", words.len());
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        let (source, _) = msl::write_string(&module, &info, &options, &Default::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(source.contains("kernel void"), "{name}");
    }
}
