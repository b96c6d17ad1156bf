//! Requests as JSON, and images from memory.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::{
    Error, Latents, Pipeline, PipelineOptions, Plan, Request, RgbImage,
    adapters::{AdapterFile, AdapterOptions, EmbeddingOptions, HypernetworkOptions, LoraOptions},
    request::{Hires, Init, Inpaint, InputImage, StrengthRule, Upscaler},
    sampling::{SamplerKind, SeedPer},
};
use serde_json::json;

use crate::common::{Sizes, model};

#[test]
fn what_is_left_out_is_as_by_default() {
    let request = Request::from_json(r#"{"prompt": "a cat", "sampler": "DPM++ 2M", "seed": 7}"#).unwrap();
    let expected = Request { prompt: "a cat".into(), sampler: SamplerKind::Dpmpp2m, seed: 7, ..Request::default() };
    assert_eq!(request, expected);
    assert_eq!(Request::from_json("{}").unwrap(), Request::default());
    let object: serde_json::Value = serde_json::from_str(&request.to_json()).unwrap();
    assert_eq!((&object["sampler"], &object["schedule"]), (&json!("dpmpp_2m"), &json!("default")));
    for absent in ["init", "hires", "tiling", "eta", "seed_per", "batch_size", "adapters", "latents", "width"] {
        assert!(object.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn a_request_is_the_same_after_json() {
    let path = |path: &str| AdapterFile::Path(path.into());
    let request = Request {
        adapters: AdapterOptions {
            loras: vec![
                LoraOptions { file: path("a/ink.safetensors"), text_encoder: 0.5, unet: -1.0, ranks: Some(3) },
                LoraOptions { file: AdapterFile::Name("thin".into()), text_encoder: 1.0, unet: 1.0, ranks: None },
            ],
            hypernetworks: vec![HypernetworkOptions { file: path("b.pt"), strength: 0.3 }],
            embeddings: vec![EmbeddingOptions { file: "c.pt".into(), name: Some("<c>".into()) }],
            ..AdapterOptions::default()
        },
        guidance_scale: 7.3,
        seed: u64::MAX,
        seed_per: SeedPer::Batch,
        fixed_code: true,
        batch_size: 3,
        latents: Some(Latents::new([1, 1, 2, 4], (0..8u8).map(|x| 0.1 * f32::from(x)).collect()).unwrap().into()),
        init: Some(Init {
            strength_rule: StrengthRule::Exact,
            inpaint: Some(Inpaint::new(Some(RgbImage::filled(2, 2, [9; 3]).into()))),
            ..Init::new(RgbImage::filled(4, 4, [1, 2, 3]).into())
        }),
        hires: Some(Hires { upscaler: Upscaler::LatentNearestExact, ..Hires::default() }),
        ..Request::default()
    };
    let read = Request::from_json(&request.to_json()).unwrap();
    assert_eq!(read, request);
    assert_eq!(read.to_json(), request.to_json());
}

#[test]
fn what_is_wrong_is_said_with_its_field() {
    for (text, expected) in [
        ("", "the request can't be read: EOF while parsing a value at line 1 column 0"),
        ("{} x", "the request can't be read: trailing characters at line 1 column 4"),
        (
            r#"{"num_inference_steps": "x"}"#,
            r#"the request can't be read, field num_inference_steps: invalid type: string "x", expected usize at line 1 column 27"#,
        ),
        (r#"{"promt": "a cat"}"#, "the request can't be read, field promt: requests have no such field"),
        (
            r#"{"init": {"picture": {}, "inpaint": {"mask_blurr": 3}}}"#,
            "the request can't be read, field init.inpaint.mask_blurr: requests have no such field",
        ),
        (
            r#"{"hires": {"upscaler": "none"}}"#,
            "the request can't be read, field hires.upscaler: unknown upscaler \"none\": use one of latent, ",
        ),
        (
            r#"{"rng": "dice"}"#,
            r#"the request can't be read, field rng: unknown generator "dice": use one of cpu, cuda, nv at line 1"#,
        ),
        (r#"{"sampler_settings": {"rho": []}}"#, "the request can't be read, field sampler_settings.rho: "),
        (r#"{"latents": {"shape": [1, 4, 1, 1], "data": []}}"#, "the request can't be read, field latents: "),
    ] {
        let error = Request::from_json(text).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(!error.to_string().contains('\n') && error.is_request());
    }
    let Err(Error::Json { field, .. }) = Request::from_json(r#"{"adapters": [{"kind": "lora", "unet": true}]}"#) else {
        panic!("true is no number")
    };
    assert_eq!(field, "adapters[0].unet");
}

/// A program that has its images in memory needs no files.
#[test]
fn images_come_from_memory() {
    let (folder, model) = model(&Sizes::default());
    let pipeline = Pipeline::load(model.clone(), PipelineOptions::default()).unwrap();
    let pixels = (0..32 * 24 * 3u32).map(|n| (n * 37 % 251) as u8).collect();
    let image = RgbImage::new(32, 24, pixels).unwrap();
    let png = calotype_image::encode_png(&image, &[]).unwrap();
    let file = folder.path().join("init.png");
    std::fs::write(&file, &png).unwrap();
    let from = [InputImage::open(&file).unwrap(), InputImage::from_bytes(&png).unwrap(), image.into()];
    let latents = |picture: &InputImage| {
        let init = Some(Init::new(picture.clone()));
        let plan = pipeline.plan(Request { num_inference_steps: 3, init, ..Request::default() }).unwrap();
        pipeline.run(plan).unwrap().finish_latents().unwrap()
    };
    assert_eq!(latents(&from[0]), latents(&from[1]));
    assert_eq!(latents(&from[0]), latents(&from[2]));
    assert!(InputImage::from_bytes(b"no image").is_err());

    // A reference is no image before it is read, from the file or from what is given.
    let reference = from[1].reference().clone();
    assert_eq!((reference.file.as_str(), reference.sha256.len()), ("", 64));
    let mut request = Request { init: Some(Init::new(reference.into())), ..Request::default() };
    let error = Plan::new(&model, request.clone(), &PipelineOptions::default()).unwrap_err();
    assert!(matches!(error, Error::ImageNotOpen { .. }), "{error}");
    assert!(request.clone().open_images(&[]).is_err());
    request.open_images(&from).unwrap();
    assert!(Plan::new(&model, request, &PipelineOptions::default()).is_ok());
}
