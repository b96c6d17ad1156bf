//! Pictures enlarged by networks: in tiles and whole, of every kind, to every size; and by trained weights, where there are some.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "these are tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use calotype::{
    CancelToken, CpuDevice, Error,
    memory::MemoryBudget,
    upscale::{Target, UpscaleOptions, Upscaler, UpscalerOptions},
};
use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_image::{DeepImage, Limits, Samples};
use calotype_models::{CompactConfig, ParamSource, Random, RrdbConfig, UpscalerConfig};
use tempfile::TempDir;

fn compact(colours: usize, scale: usize) -> UpscalerConfig {
    UpscalerConfig::Compact(CompactConfig { colours, outputs: colours, channels: 8, convolutions: 2, scale })
}

fn rrdb(ups: usize, unshuffle: usize) -> UpscalerConfig {
    let inputs = 3 * unshuffle * unshuffle;
    UpscalerConfig::Rrdb(RrdbConfig {
        inputs,
        outputs: 3,
        channels: 8,
        growth: 4,
        blocks: 1,
        ups,
        unshuffle,
        plus: false,
    })
}

/// A file of random weights, whose results are around the middle of the range.
fn write(folder: &Path, config: &UpscalerConfig) -> PathBuf {
    let path = folder.join("network.safetensors");
    let tensor = |spec: &calotype_models::ParamSpec| {
        let mut data = Random { seed: 1 }.data(spec).unwrap().to_vec().unwrap();
        match spec.name.as_str() {
            "conv_last.bias" => data.fill(0.5),
            // As large as what goes in.
            _ if spec.shape.len() == 4 && matches!(config, UpscalerConfig::Rrdb(_)) => {
                data.iter_mut().for_each(|x| *x *= 1.7);
            }
            // PReLU's slopes.
            _ if spec.shape.len() == 1 && spec.name.ends_with("weight") => data.fill(0.25),
            _ => {}
        }
        (spec.name.clone(), DType::F32, spec.shape.clone(), Cow::from(encode_f32(&data, DType::F32).unwrap()))
    };
    write_safetensors(&path, config.specs().unwrap().iter().map(tensor), &BTreeMap::new()).unwrap();
    path
}

fn open(config: &UpscalerConfig) -> Upscaler {
    let folder = TempDir::new().unwrap();
    let device = CpuDevice::new(Default::default()).unwrap();
    let upscaler = Upscaler::open(&device, write(folder.path(), config), UpscalerOptions::default()).unwrap();
    assert_eq!(upscaler.config(), config);
    assert_eq!(upscaler.name(), "network");
    upscaler
}

/// A picture by formula, with edges and slopes.
fn picture(width: u32, height: u32, channels: usize, deep: bool) -> DeepImage {
    let value = |n: usize| {
        let (pixel, c) = (n / channels, n % channels);
        let (x, y) = (pixel as u32 % width, pixel as u32 / width);
        let stripe = if (x / 5 + y / 7).is_multiple_of(2) { 9000 } else { 0 };
        (x * 577 + y * 331 + c as u32 * 7001 + stripe) % 50_000 + 5_000
    };
    let words: Vec<u16> = (0..(width * height) as usize * channels).map(|n| value(n) as u16).collect();
    let samples = match deep {
        true => Samples::Words(words),
        false => Samples::Bytes(words.iter().map(|word| (word / 257) as u8).collect()),
    };
    DeepImage::new(width, height, channels, samples).unwrap()
}

fn enlarge(upscaler: &Upscaler, picture: &DeepImage, tile: Option<u32>, overlap: Option<u32>) -> DeepImage {
    let options = UpscaleOptions { tile, overlap, ..UpscaleOptions::default() };
    upscaler.upscale(picture, Target::Native, &options, &mut |_, _| {}).unwrap()
}

/// The greatest difference in levels of 8 bits.
fn levels(a: &DeepImage, b: &DeepImage) -> f32 {
    assert_eq!((a.width(), a.height(), a.channels()), (b.width(), b.height(), b.channels()));
    let all = [0, 0, a.width(), a.height()];
    (0..a.channels())
        .flat_map(|c| a.unit_part(c, all).into_iter().zip(b.unit_part(c, all)).map(|(a, b)| (a - b).abs() * 255.0))
        .fold(0.0, f32::max)
}

#[test]
fn tiles_have_no_seam_where_all_is_seen() {
    for config in [compact(3, 2), compact(3, 4), rrdb(2, 1), rrdb(2, 2), rrdb(2, 4), rrdb(0, 1)] {
        let upscaler = open(&config);
        // No side is a multiple of anything.
        let picture = picture(61, 47, 3, true);
        let whole = enlarge(&upscaler, &picture, Some(0), None);
        assert_eq!((whole.width(), whole.height()), (61 * config.scale() as u32, 47 * config.scale() as u32));
        let spread = whole.unit_part(0, [0, 0, whole.width(), whole.height()]);
        assert!(spread.iter().fold(0.0f32, |m, x| m.max(*x)) - spread.iter().fold(1.0f32, |m, x| m.min(*x)) > 0.02);
        for (tile, overlap) in [(20, None), (17, None), (32, None), (1000, None), (9, Some(config.reach() as u32))] {
            let difference = levels(&enlarge(&upscaler, &picture, Some(tile), overlap), &whole);
            assert!(difference < 0.02, "{}, tiles of {tile}: {difference} levels off", config.describe());
        }
        // With nothing seen around them there is one.
        let seams = levels(&enlarge(&upscaler, &picture, Some(16), Some(0)), &whole);
        assert!(seams > 0.05, "{}: {seams}", config.describe());
    }
}

#[test]
fn pictures_stay_of_their_kind() {
    for colours in [1, 3, 4] {
        let upscaler = open(&compact(colours, 2));
        for channels in 1..=4 {
            let [deep, shallow] = [true, false].map(|deep| picture(13, 9, channels, deep));
            let large = enlarge(&upscaler, &deep, None, None);
            assert_eq!((large.width(), large.height(), large.channels()), (26, 18, channels));
            assert!(matches!(large.samples(), Samples::Words(_)));
            let large_shallow = enlarge(&upscaler, &shallow, None, None);
            assert!(matches!(large_shallow.samples(), Samples::Bytes(_)));
            // The input was a level coarser.
            let difference = levels(&large, &large_shallow);
            assert!(difference < 4.0, "{colours} colours, {channels} channels: {difference}");
        }
    }
}

#[test]
fn what_is_opaque_stays_so_and_grey_stays_grey() {
    let upscaler = open(&compact(3, 2));
    let rgb = picture(12, 7, 3, false);
    let mut opaque = picture(12, 7, 4, false);
    let all = [0, 0, 12, 7];
    (0..3).for_each(|c| opaque.put_unit(c, [0, 0], 12, &rgb.unit_part(c, all)));
    opaque.put_unit(3, [0, 0], 12, &[1.0; 12 * 7]);
    let (large, plain) = (enlarge(&upscaler, &opaque, None, None), enlarge(&upscaler, &rgb, None, None));
    let all = [0, 0, 24, 14];
    assert!(large.unit_part(3, all).iter().all(|&x| x == 1.0));
    (0..3).for_each(|c| assert_eq!(large.unit_part(c, all), plain.unit_part(c, all)));
    // A grey picture is seen as three equal colours, of whose result the luma is taken.
    let grey = picture(12, 7, 1, false);
    let mut coloured = rgb.of_size(12, 7).unwrap();
    (0..3).for_each(|c| coloured.put_unit(c, [0, 0], 12, &grey.unit_part(0, [0, 0, 12, 7])));
    let large = enlarge(&upscaler, &grey, None, None).unit_part(0, all);
    let coloured = enlarge(&upscaler, &coloured, None, None);
    let [r, g, b] = [0, 1, 2].map(|c| coloured.unit_part(c, all));
    for (n, grey) in large.iter().enumerate() {
        let luma = 0.299 * r[n] + 0.587 * g[n] + 0.114 * b[n];
        assert!((luma - grey).abs() < 1.1 / 255.0, "{luma} {grey}");
    }
}

#[test]
fn every_size_can_be_asked_for() {
    let upscaler = open(&compact(3, 2));
    let picture = picture(15, 10, 3, false);
    let mut tiles = Vec::new();
    let mut size = |target: Target| {
        let options = UpscaleOptions::default();
        let large = upscaler.upscale(&picture, target, &options, &mut |done, of| tiles.push((done, of))).unwrap();
        [large.width(), large.height()]
    };
    assert_eq!(size(Target::Native), [30, 20]);
    assert_eq!(size(Target::Scale(1.5)), [23, 15]);
    assert_eq!(size(Target::Scale(1.0)), [15, 10]);
    // By three runs, and by three and Lanczos' window.
    assert_eq!(size(Target::Scale(8.0)), [120, 80]);
    assert_eq!(size(Target::Scale(9.0)), [135, 90]);
    assert_eq!(size(Target::Size([40, 40])), [40, 40]);
    assert_eq!(size(Target::Size([0, 40])), [60, 40]);
    assert_eq!(size(Target::Size([31, 7])), [31, 7]);
    assert_eq!(tiles[..2], [(0, 1), (1, 1)]);
    let refused = |target| upscaler.upscale(&picture, target, &UpscaleOptions::default(), &mut |_, _| {}).unwrap_err();
    assert!(refused(Target::Scale(-1.0)).is_request());
    assert!(refused(Target::Size([0, 0])).is_request());
    assert!(refused(Target::Scale(1e6)).is_request());
}

#[test]
fn it_stops_and_keeps_within_memory() {
    let upscaler = open(&compact(3, 2));
    let picture = picture(30, 20, 3, false);
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = UpscaleOptions { cancel, ..UpscaleOptions::default() };
    let error = upscaler.upscale(&picture, Target::Native, &options, &mut |_, _| {}).unwrap_err();
    assert!(error.is_cancelled(), "{error}");

    let folder = TempDir::new().unwrap();
    let device = CpuDevice::new(Default::default()).unwrap();
    let memory = MemoryBudget::with_limit(32 << 20);
    let options = UpscalerOptions { memory: memory.clone(), ..UpscalerOptions::default() };
    let upscaler = Upscaler::open(&device, write(folder.path(), &compact(3, 2)), options).unwrap();
    let error = upscaler.upscale(&picture, Target::Native, &UpscaleOptions::default(), &mut |_, _| {}).unwrap_err();
    assert!(error.is_out_of_memory() && memory.reserved() == 0, "{error}");
}

#[test]
fn what_is_no_upscaler_is_refused_in_a_line() {
    let folder = TempDir::new().unwrap();
    let device = CpuDevice::new(Default::default()).unwrap();
    let open = |path: &Path| Upscaler::open(&device, path, UpscalerOptions::default()).unwrap_err();
    assert!(open(&folder.path().join("none.pth")).is_not_found());
    let other = folder.path().join("other.safetensors");
    let tensor = ("x".to_owned(), DType::F32, vec![1], Cow::from(vec![0; 4]));
    write_safetensors(&other, [tensor], &BTreeMap::new()).unwrap();
    let error = open(&other);
    assert!(matches!(error, Error::Models(_)), "{error}");
    assert!(error.to_string().contains("of no upscaler that is known: give one of ESRGAN, "), "{error}");
    // Two channels are no picture.
    let error = open(&write(folder.path(), &compact(2, 2)));
    assert!(error.to_string().contains("it makes 2 channels of 2, expected 1, 3 or 4"), "{error}");
}

/// Trained weights: `CALOTYPE_UPSCALERS` is a folder of networks (`reference/upscalers.py real` makes some), `CALOTYPE_UPSCALED` one of what
/// is expected of each, `NAME.expected.png`, for the picture `input.png` there, or `chelsea-64x48.png`.
#[test]
fn trained_networks_are_within_a_level() {
    let [Some(networks), Some(expected)] =
        ["CALOTYPE_UPSCALERS", "CALOTYPE_UPSCALED"].map(|name| std::env::var_os(name).map(PathBuf::from))
    else {
        return eprintln!("left out: CALOTYPE_UPSCALERS and CALOTYPE_UPSCALED are not set");
    };
    let read = |path: &Path| DeepImage::decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    let input =
        ["input.png", "chelsea-64x48.png"].map(|name| expected.join(name)).into_iter().find(|path| path.is_file());
    let input = read(&input.unwrap());
    let device = CpuDevice::new(Default::default()).unwrap();
    let mut compared = 0;
    for entry in std::fs::read_dir(networks).unwrap() {
        let path = entry.unwrap().path();
        let wanted = expected.join(format!("{}.expected.png", path.file_stem().unwrap().to_string_lossy()));
        if !wanted.is_file() {
            continue;
        }
        let upscaler = Upscaler::open(&device, &path, UpscalerOptions::default()).unwrap();
        let difference = levels(&enlarge(&upscaler, &input, Some(0), None), &read(&wanted));
        eprintln!("{}: {difference} levels off ({})", path.display(), upscaler.config().describe());
        assert!(difference < 1.01);
        compared += 1;
    }
    assert!(compared > 0);
}

/// The tools that list, show and convert models know upscalers.
#[test]
fn models_are_listed_shown_and_converted() {
    use calotype::ModelOptions;
    use calotype_checkpoint::{ConvertOptions, ConvertTo, Inspection, ListedKind, convert, inspect, list};
    use calotype_formats::Checkpoint;

    let folder = TempDir::new().unwrap();
    let plain = write(folder.path(), &rrdb(2, 1));
    // As BSRGAN names them, in a wrapper.
    let bsrgan = folder.path().join("bsrgan.safetensors");
    let file = Checkpoint::open(&plain, "").unwrap();
    let rename = |name: &str| {
        let name = name.replace("body.0.rdb", "RRDB_trunk.0.RDB").replace("conv_body", "trunk_conv");
        format!("params_ema.{}", name.replace("conv_hr", "HRconv").replace("conv_up", "upconv"))
    };
    let tensors =
        file.tensors().map(|t| (rename(&t.name), t.dtype, t.shape.clone(), Cow::from(file.read(&t.name).unwrap())));
    write_safetensors(&bsrgan, tensors, &BTreeMap::new()).unwrap();
    let options = ModelOptions::default();
    let Inspection::File(shown) = inspect(&bsrgan, &options).unwrap() else { panic!("a whole model") };
    assert_eq!(shown.what, "an upscaler (ESRGAN ×4, 8 channels, 1 blocks)");
    assert!(shown.problems.is_empty(), "{:?}", shown.problems);
    let listed = list(&[folder.path().to_owned()]).unwrap();
    assert_eq!(listed.iter().map(|listed| listed.kind).collect::<Vec<_>>(), [ListedKind::Upscaler; 2]);

    let converted = folder.path().join("converted.safetensors");
    let how = ConvertOptions { to: ConvertTo::CompVis, dtype: None };
    convert(&bsrgan, &options, &converted, how, &mut |_, _| true).unwrap();
    let again = Checkpoint::open(&converted, "").unwrap();
    assert_eq!(again.tensors().len(), file.tensors().len());
    for tensor in file.tensors() {
        assert_eq!(again.read(&tensor.name).unwrap(), file.read(&tensor.name).unwrap(), "{}", tensor.name);
    }
    let to_folder = ConvertOptions { to: ConvertTo::Diffusers, dtype: None };
    let error = convert(&bsrgan, &options, &folder.path().join("folder"), to_folder, &mut |_, _| true).unwrap_err();
    assert!(error.to_string().contains("this is an upscaler, which is one file"), "{error}");
}
