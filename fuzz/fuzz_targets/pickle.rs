#![no_main]
mod torch;
#[path = "../../crates/formats/tests/common/zip.rs"]
#[allow(dead_code)]
mod zip;

// A pickle, in an archive with the storages that it may name.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut archive = zip::Zip::default();
    archive.add("archive/data.pkl", bytes);
    archive.add("archive/data/0", [1; 8]);
    for key in 1..6 {
        archive.add(&format!("archive/data/{key}"), [key; 64]);
    }
    torch::read(archive.build().bytes);
});
