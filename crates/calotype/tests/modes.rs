//! Pictures from pictures, masks, odd sizes and second passes: equal to diffusers', and to themselves in any batch.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;

use calotype::{
    Keep, Latents, Model, Pipeline, PipelineOptions, Precision, Request, RgbImage, RgbaImage,
    metadata::Metadata,
    request::{Fill, Hires, Init, Inpaint, InputImage, PromptStyle, ResizeMode, Sides, StrengthRule, Tiling, Upscaler},
};
use calotype_diffusion::{SampleOptions, Sampler};
use calotype_image::encode_png;
use calotype_models::{DownBlockType as Down, TinyBlocks, UNetConfig, UpBlockType as Up, VaeConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Sizes, begin, distance, values};

/// The picture of `reference/modes.py`.
fn picture(width: usize, height: usize) -> RgbImage {
    let data = values("picture", width * height * 3).iter().map(|x| ((x * 0.5 + 0.5) * 255.0).floor() as u8).collect();
    RgbImage::new(width as u32, height as u32, data).unwrap()
}

/// The mask of `reference/modes.py`.
fn mask(width: usize, height: usize) -> RgbImage {
    let white = |n: usize| n / width >= height / 3 && n % width >= width / 2;
    let data = (0..width * height).flat_map(|n| [if white(n) { 255 } else { 0 }; 3]).collect();
    RgbImage::new(width as u32, height as u32, data).unwrap()
}

fn file(folder: &Path, name: &str, picture: &RgbImage) -> InputImage {
    let path = folder.join(name);
    std::fs::write(&path, encode_png(picture, &[]).unwrap()).unwrap();
    InputImage::open(path).unwrap()
}

fn sizes(deep: bool, inpaint: bool) -> Sizes {
    let mut sizes = Sizes::default();
    if deep {
        sizes.unet = UNetConfig {
            block_out_channels: vec![8, 16, 16],
            down_block_types: vec![Down::CrossAttention, Down::CrossAttention, Down::Plain],
            up_block_types: vec![Up::Plain, Up::CrossAttention, Up::CrossAttention],
            ..sizes.unet
        };
    }
    if inpaint {
        sizes.unet.in_channels = 9;
    }
    sizes
}

fn model(sizes: &Sizes) -> (TempDir, Arc<Model>) {
    let folder = TempDir::new().unwrap();
    sizes.write(folder.path());
    let model = Arc::new(Model::open(folder.path()).unwrap());
    (folder, model)
}

fn load(model: &Arc<Model>) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

fn latents(pipeline: &Pipeline, request: &Request) -> Latents {
    begin(pipeline, request).unwrap().finish_latents().unwrap()
}

fn request(case: &Value, folder: &Path) -> Request {
    let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let (width, height) = (number("width"), number("height"));
    let init = || Init {
        strength: case["strength"].as_f64().unwrap(),
        strength_rule: match case["rule"].as_str() {
            Some("a1111") => StrengthRule::A1111,
            Some("exact") => StrengthRule::Exact,
            _ => StrengthRule::Part,
        },
        ..Init::new(file(folder, "init.png", &picture(width, height)))
    };
    let masked = || {
        let mask = Some(file(folder, "mask.png", &mask(width, height)));
        Init { inpaint: Some(Inpaint { mask_blur: 0.0, ..Inpaint::new(mask) }), ..init() }
    };
    let hires = || Hires {
        width: number("hires_width"),
        height: number("hires_height"),
        strength: case["strength"].as_f64().unwrap(),
        upscaler: serde_json::from_value(case["upscaler"].clone()).unwrap(),
        ..Hires::default()
    };
    let mode = text("mode");
    Request {
        prompt: text("prompt"),
        negative_prompt: text("negative"),
        num_inference_steps: number("steps"),
        sampler: text("sampler").parse().unwrap(),
        eta: case["eta"].as_f64(),
        width: Some(width),
        height: Some(height),
        seed: case["seed"].as_u64().unwrap(),
        batch_size: case["batch"].as_u64().unwrap_or(1) as usize,
        init: match mode.as_str() {
            "img2img" => Some(init()),
            "inpaint" | "blend" => Some(masked()),
            _ => None,
        },
        hires: (mode == "hires").then(hires),
        tiling: if case["tiling"] == true { Tiling::Xy } else { Tiling::None },
        ..Default::default()
    }
}

#[test]
fn equals_diffusers() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("goldens/modes.json")).unwrap();
    for case in cases {
        let mut sizes = sizes(case["deep"] == true, case["mode"] == "inpaint");
        if case["tiny"] == true {
            let tiny = TinyBlocks { encoder: vec![1, 2, 1], decoder: vec![1; 3], decoder_channels: vec![8; 3] };
            sizes.vae = VaeConfig::with_tiny_blocks(tiny, 8);
        }
        let (folder, model) = model(&sizes);
        let pipeline = load(&model);
        let run = begin(&pipeline, &request(&case, folder.path())).unwrap();
        let total = run.plan().steps();
        let pictures = run.finish().unwrap();
        let expected: Vec<f32> =
            case["latents"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let distance = distance(&pictures.latents.to_nchw(), &expected);
        println!("{} {} {total} steps: {distance:.1e}", case["mode"], case["sampler"]);
        assert!(distance < 1e-4, "{} {}: {distance:.1e}", case["mode"], case["seed"]);
        if let Some(pixels) = case["picture"].as_array() {
            let near = |(a, b): (&u8, &Value)| a.abs_diff(b.as_u64().unwrap() as u8) <= 1;
            assert!(pictures.images[0].pixels.data().iter().zip(pixels).all(near));
        }
    }
}

/// Requests of every mode with two pictures, for models of their own or made for inpainting.
fn modes(folder: &Path) -> Vec<Request> {
    let file = |name: &str, picture| file(folder, name, &picture);
    let init = || Init::new(file("init.png", picture(36, 28)));
    let mask = || Some(file("mask.png", mask(36, 28)));
    let inpaint = |inpaint: Inpaint| Init { inpaint: Some(inpaint), ..init() };
    let base =
        Request { prompt: "a tree".into(), num_inference_steps: 3, seed: 5, batch_size: 2, ..Default::default() };
    let sized = Request { width: Some(32), height: Some(24), ..base.clone() };
    let with = |init: Init| Request { init: Some(init), ..sized.clone() };
    let hires = |upscaler| Hires { width: 48, height: 40, upscaler, ..Hires::default() };
    vec![
        Request { init: Some(init()), sampler: "euler_a".parse().unwrap(), ..base.clone() },
        with(Init { resize_mode: ResizeMode::Crop, strength: 0.4, ..init() }),
        with(Init { resize_mode: ResizeMode::Fill, ..init() }),
        with(Init { resize_mode: ResizeMode::Latent, ..init() }),
        with(Init { strength: 0.2, strength_rule: StrengthRule::Exact, ..init() }),
        Request {
            init_noise_multiplier: 1.25,
            extra_noise: 0.125,
            ..with(Init { strength_rule: StrengthRule::A1111, ..init() })
        },
        with(inpaint(Inpaint { conditioning_mask_strength: 0.25, fill: Fill::Fill, ..Inpaint::new(mask()) })),
        with(Init { strength: 1.0, strength_rule: StrengthRule::A1111, ..inpaint(Inpaint::new(mask())) }),
        with(inpaint(Inpaint { fill: Fill::LatentNoise, invert_mask: true, ..Inpaint::new(mask()) })),
        with(inpaint(Inpaint { only_masked_padding: Some(4), fill: Fill::LatentNothing, ..Inpaint::new(mask()) })),
        Request {
            init: Some(Init {
                outpaint: Some(Sides { left: 5, bottom: 9, ..Sides::default() }),
                ..inpaint(Inpaint { fill: Fill::Fill, ..Inpaint::new(None) })
            }),
            ..base.clone()
        },
        Request { hires: Some(hires(Upscaler::LatentNearestExact)), ..sized.clone() },
        Request { hires: Some(hires(Upscaler::Lanczos)), sampler: "euler_a".parse().unwrap(), ..sized.clone() },
        Request { tiling: Tiling::X, ..sized },
    ]
}

#[test]
fn each_picture_of_a_batch_is_that_made_alone_and_again_from_its_metadata() {
    let files = TempDir::new().unwrap();
    for for_inpainting in [false, true] {
        let (_folder, model) = model(&sizes(false, for_inpainting));
        let pipeline = load(&model);
        for request in modes(files.path()) {
            let run = begin(&pipeline, &request).unwrap();
            let plan = run.plan().clone();
            let both = run.finish().unwrap();
            let metadata = Metadata::new(&model, &plan, Precision::F32, 1).unwrap();
            let read = Metadata::from_json(&metadata.to_json()).unwrap();
            assert_eq!(read, metadata);
            let again = begin(&pipeline, &read.request(&[]).unwrap().0).unwrap().finish().unwrap();
            assert_eq!(both.latents.slice(1, 1), Some(again.latents), "{}", metadata.to_json());
            assert!(both.images[1].pixels == again.images[0].pixels, "{}", metadata.to_json());
            assert!(both.images[0].pixels != both.images[1].pixels);
        }
    }
}

#[test]
fn what_is_not_masked_stays() {
    let files = TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let (width, height) = (32, 24);
    let original = picture(width, height);
    for only_masked_padding in [None, Some(2)] {
        let inpaint = Inpaint {
            mask_blur: 0.0,
            only_masked_padding,
            ..Inpaint::new(Some(file(files.path(), "mask.png", &mask(width, height))))
        };
        let init = Init { inpaint: Some(inpaint), ..Init::new(file(files.path(), "init.png", &original)) };
        let request =
            Request { prompt: "a tree".into(), num_inference_steps: 3, init: Some(init), ..Default::default() };
        let made = begin(&pipeline, &request).unwrap().finish().unwrap().images.remove(0);
        let masks = mask(width, height);
        let pixels = made.pixels.data().iter().zip(original.data()).zip(masks.data());
        let (changed, kept): (Vec<_>, Vec<_>) = pixels.partition(|(_, mask)| **mask > 0);
        assert!(kept.iter().all(|((a, b), _)| a == b));
        assert!(changed.iter().filter(|((a, b), _)| a != b).count() > changed.len() / 2);
    }
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let files = TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let init = || Init::new(file(files.path(), "init.png", &picture(32, 24)));
    let refused = |request: Request, options: PipelineOptions, message: &str| {
        let error = crate::common::plan_with(&model, &request, options).expect_err(message);
        assert!(error.is_request(), "{error}");
        assert_eq!(error.to_string(), message);
    };
    let plain = PipelineOptions::default();
    let with = |init: Init| Request { num_inference_steps: 10, init: Some(init), ..Default::default() };
    let strength = "strength is 1.5: give a number from 0 (keep the picture) to 1 (start from noise alone)";
    refused(with(Init { strength: 1.5, ..init() }), plain.clone(), strength);
    let black = file(files.path(), "black.png", &RgbImage::filled(8, 6, [0; 3]));
    let empty = Init { inpaint: Some(Inpaint::new(Some(black))), ..init() };
    refused(
        with(empty),
        plain.clone(),
        "the mask is empty, so nothing would change: paint white what is to be made anew",
    );
    let blur = Init { inpaint: Some(Inpaint { mask_blur: -1.0, ..Inpaint::new(None) }), ..init() };
    refused(with(blur), plain.clone(), "mask blur -1 is out of range: give 0 to 1000 pixels");
    let sides = Init { outpaint: Some(Sides::default()), ..init() };
    let none = "no side is to grow: give the pixels for at least one of left, right, top and bottom";
    refused(with(sides), plain.clone(), none);
    let tiling = Request { tiling: Tiling::X, width: Some(36), height: Some(20), ..Default::default() };
    refused(
        tiling.clone(),
        plain.clone(),
        "width 36 is not a multiple of 8, which seamless tiling needs: give 32 or 40",
    );
    let tiled = PipelineOptions { vae_tiling: true, ..plain.clone() };
    let whole = "seamless tiling needs the whole picture decoded at once: leave out the tiled VAE";
    refused(tiling, tiled, whole);
    let hires = Request { hires: Some(Hires { width: 50, height: 40, ..Hires::default() }), ..Default::default() };
    refused(hires.clone(), plain.clone(), "width 50 is not a multiple of 4, which this model needs: give 48 or 52");
    let both = "a second, larger pass goes with pictures from text only: leave it or the picture out";
    refused(Request { init: Some(init()), ..hires }, plain, both);
}

/// A1111's "Noise multiplier for img2img" and "Extra noise": the noise over the picture is `(sigma · m + extra · m)` times
/// that of the seed.
#[test]
fn noise_over_a_picture_is_multiplied() {
    let files = TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let base = Request {
        prompt: "a tree".into(),
        num_inference_steps: 4,
        sampler: "euler".parse().unwrap(),
        init: Some(Init::new(file(files.path(), "init.png", &picture(32, 24)))),
        ..Default::default()
    };
    let sampler = Sampler::new(base.sampler, base.schedule, model.noise_schedule(), SampleOptions::new(4)).unwrap();
    let sigma = sampler.img2img(0.75, calotype_diffusion::StrengthRule::Diffusers).unwrap().noised_level().sigma;
    let noise = values("noise", 4 * 6 * 8);
    let times = |factor: f64| {
        let noise: Vec<f32> = noise.iter().map(|&x| (f64::from(x as f32) * factor) as f32).collect();
        Latents::from_nchw([1, 4, 6, 8], &noise).unwrap()
    };
    let with = |factor: f64, init_noise_multiplier, extra_noise| {
        let start = Some(times(factor).into());
        latents(&pipeline, &Request { latents: start, init_noise_multiplier, extra_noise, ..base.clone() })
    };
    let expected = with(0.9 * (1.0 + 0.25 / sigma), 1.0, 0.0);
    let error = distance(with(1.0, 0.9, 0.25).data(), expected.data());
    assert!(error < 1e-6, "{error:.1e}");
    assert!(distance(with(1.0, 1.0, 0.0).data(), expected.data()) > 1e-3);
    for (init_noise_multiplier, extra_noise) in [(1.6, 0.0), (-0.1, 0.0), (1.0, 1.1), (f64::NAN, 0.0)] {
        let request = Request { init_noise_multiplier, extra_noise, ..base.clone() };
        let error = crate::common::plan(&model, &request).unwrap_err();
        assert!(error.is_request() && error.to_string().contains("is out of range: give 0 to 1"), "{error}");
    }
}

#[test]
fn strength_rules_leave_different_steps() {
    let files = TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let init = Init::new(file(files.path(), "init.png", &picture(32, 24)));
    for (rule, steps) in [(StrengthRule::Part, 12), (StrengthRule::A1111, 13), (StrengthRule::Exact, 20)] {
        let init = Some(Init { strength: 0.6, strength_rule: rule, ..init.clone() });
        let request =
            Request { num_inference_steps: 20, sampler: "euler".parse().unwrap(), init, ..Default::default() };
        assert_eq!(crate::common::plan(&model, &request).unwrap().steps(), steps, "{rule:?}");
    }
    // All steps of a second pass are taken, whatever its strength.
    let hires = Some(Hires { width: 0, height: 48, num_inference_steps: Some(7), strength: 0.3, ..Hires::default() });
    let request = Request {
        width: Some(32),
        height: Some(16),
        num_inference_steps: 5,
        sampler: "euler".parse().unwrap(),
        hires,
        ..Default::default()
    };
    let plan = crate::common::plan(&model, &request).unwrap();
    assert_eq!((plan.steps(), plan.final_shape()), (12, [1, 12, 24, 4]));
}

/// A1111's masks: of a picture with transparent parts what is opaque counts, whatever its colour.
#[test]
fn a_mask_may_be_what_is_opaque() {
    let files = TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let init = Init::new(file(files.path(), "init.png", &picture(32, 24)));
    let white = file(files.path(), "mask.png", &mask(32, 24));
    let opaque = white.rgba().unwrap().data().chunks_exact(4).flat_map(|p| [0, 0, 0, if p[0] > 0 { 255 } else { 100 }]);
    let opaque = InputImage::from(RgbaImage::new(32, 24, opaque.collect()).unwrap());
    let of = |mask: InputImage| {
        let init = Some(Init { inpaint: Some(Inpaint::new(Some(mask))), ..init.clone() });
        let request = Request { num_inference_steps: 2, init, ..Default::default() };
        latents(&pipeline, &request)
    };
    assert_eq!(of(opaque), of(white));
}

/// What a prompt needs of memory is known before weights are read, and a prompt that can't be read refused.
#[test]
fn prompts_are_checked_before_the_work() {
    let (_folder, model) = model(&Sizes::default());
    let request =
        |prompt: &str| Request { prompt: prompt.into(), prompt_style: PromptStyle::A1111, ..Default::default() };
    let arena = |prompt: &str| crate::common::plan(&model, &request(prompt)).unwrap().arena_bytes();
    assert!(arena(&"word ".repeat(750)) > arena("word"));
    for prompt in ["(a:1.2.3)", &"word ".repeat(75 * 65)] {
        let error = crate::common::plan(&model, &request(prompt)).unwrap_err();
        assert!(error.is_request() && !error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn files_that_changed_are_refused() {
    let files = TempDir::new().unwrap();
    let first = file(files.path(), "init.png", &picture(8, 8));
    let reopen = || {
        let init = Some(Init::new(first.reference().clone().into()));
        let mut request = Request { init, ..Request::default() };
        request.open_images(&[]).map(|()| request.init.unwrap().picture)
    };
    assert_eq!(reopen().unwrap(), first);
    assert_eq!(reopen().unwrap().rgba().unwrap(), first.rgba().unwrap());
    file(files.path(), "init.png", &picture(16, 8));
    let error = reopen().unwrap_err().to_string();
    assert!(error.contains("its SHA-256 begins ") && !error.contains('\n'), "{error}");
    std::fs::write(files.path().join("init.png"), "no picture").unwrap();
    let error = reopen().unwrap_err().to_string();
    assert!(error.ends_with("not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these"), "{error}");
}
