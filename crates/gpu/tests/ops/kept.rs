//! Compiled kernels on disk, and the device's own clock.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use calotype_gpu::{GpuDevice, GpuDeviceOptions, Tier, WatchCompiling};
use calotype_tensor::{Backend, Precision, Result};

use crate::setup::{backend, device};

fn doubled(device: &GpuDevice) -> Result<Vec<f32>> {
    let gpu = backend(device, Precision::F32)?;
    gpu.to_f32(&gpu.scale(&gpu.from_f32([3].into(), vec![1.0, 2.0, 4.0])?, 2.0)?)
}

#[test]
fn compiled_kernels_are_kept_and_a_broken_file_is_replaced() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("a/b");
    let run = || {
        let compiled = Arc::new(AtomicUsize::new(0));
        let told = compiled.clone();
        let watch = WatchCompiling::new(move |kernel| {
            told.store(kernel.kernels, Ordering::Relaxed);
        });
        let device = GpuDevice::new(GpuDeviceOptions {
            software: true,
            tier: Some(Tier::Plain),
            cache: Some(cache.clone()),
            watch: Some(watch),
            ..Default::default()
        })?;
        assert_eq!(doubled(&device)?, [2.0, 4.0, 8.0]);
        // That of the check when it was opened, and of the function.
        assert_eq!(compiled.load(Ordering::Relaxed), 2);
        Ok::<_, calotype_tensor::Error>(())
    };
    let files = || -> Vec<PathBuf> {
        fs::read_dir(&cache).map_or_else(|_| Vec::new(), |files| files.map(|file| file.unwrap().path()).collect())
    };
    run()?;
    let Some(file) = files().first().cloned() else {
        eprintln!("left out: this driver keeps no compiled kernels");
        return Ok(());
    };
    let whole = fs::read(&file).unwrap();
    assert!(whole.starts_with(b"calogpu1") && whole.len() > 100, "{} bytes", whole.len());
    run()?;
    for broken in [whole[..whole.len() / 2].to_vec(), vec![0; 1000], Vec::new()] {
        fs::write(&file, broken).unwrap();
        run()?;
        let again = fs::read(&file).unwrap();
        assert!(again.starts_with(b"calogpu1") && again.len() > 100);
    }
    assert_eq!(files(), std::slice::from_ref(&file), "nothing else lies there");
    // Where there can be no folder, all else goes on.
    fs::remove_file(&file).unwrap();
    fs::remove_dir(&cache).unwrap();
    fs::write(&cache, "a file").unwrap();
    run()
}

#[test]
fn the_device_times_what_it_computes() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let timestamps = |timestamps| {
        GpuDevice::new(GpuDeviceOptions { software: true, tier: Some(Tier::Plain), timestamps, ..Default::default() })
    };
    let gpu = backend(&timestamps(true)?, Precision::F32)?;
    let x = gpu.from_f32([1 << 20].into(), vec![0.5; 1 << 20])?;
    gpu.exp(&x)?;
    let Some(first) = gpu.device_seconds()? else {
        eprintln!("left out: this driver has no timestamps");
        return Ok(());
    };
    assert!(first > 0.0 && first < 60.0, "{first}");
    // What was told is told once.
    assert_eq!(gpu.device_seconds()?, Some(0.0));
    for _ in 0..3 {
        gpu.exp(&x)?;
        gpu.synchronize()?;
    }
    assert!(gpu.device_seconds()?.is_some_and(|seconds| seconds > 0.0));
    // More passes than it has room for are not told.
    for _ in 0..300 {
        gpu.scale(&x, 2.0)?;
        gpu.synchronize()?;
    }
    assert_eq!(gpu.device_seconds()?, None);
    let without = backend(&timestamps(false)?, Precision::F32)?;
    assert_eq!(without.device_seconds()?, None);
    Ok(())
}
