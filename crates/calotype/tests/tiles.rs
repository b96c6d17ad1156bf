//! Latents in overlapping windows: diffusers' panorama, one window as none, regions, and memory that does not grow with the image.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use calotype::{
    Keep, Latents, Model, Pipeline, PipelineOptions, Request, RgbImage,
    metadata::Metadata,
    request::{Hires, Init, Inpaint, InputImage, PromptStyle, Region, TileMethod, Tiles, Tiling},
};
use calotype_image::encode_png;
use calotype_models::VaeConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Sizes, distance, model, plan};

fn load(model: &Arc<Model>) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

fn latents(pipeline: &Pipeline, request: &Request) -> Latents {
    pipeline.generate(request.clone()).unwrap().finish_latents().unwrap()
}

/// A wide image of a few steps.
fn wide(tiles: Option<Tiles>) -> Request {
    Request { num_inference_steps: 3, width: Some(64), height: Some(32), tiles, ..Request::new("a valley") }
}

fn small(method: TileMethod) -> Tiles {
    Tiles { method, width: 6, height: 4, overlap: 2, batch_size: 3, regions: Vec::new() }
}

#[test]
fn equals_the_panorama_of_diffusers() {
    let vae = VaeConfig { norm_num_groups: 4, ..VaeConfig::with_channels(&[8, 8, 8, 12]) };
    let (_folder, model) = model(&Sizes { vae, ..Sizes::default() });
    let pipeline = load(&model);
    let cases: Vec<Value> = serde_json::from_str(include_str!("goldens/tiles.json")).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let window = number("window");
        // As many at once as it has must make no difference.
        for batch_size in [1, 4] {
            let tiles = Tiles {
                width: window,
                height: window,
                overlap: window - number("stride"),
                batch_size,
                ..Tiles::default()
            };
            let request = Request {
                prompt: text("prompt"),
                negative_prompt: text("negative"),
                num_inference_steps: number("steps"),
                sampler: text("sampler").parse().unwrap(),
                width: Some(number("width")),
                height: Some(number("height")),
                seed: case["seed"].as_u64().unwrap(),
                tiling: if case["circular"] == true { Tiling::X } else { Tiling::None },
                tiles: Some(tiles),
                ..Default::default()
            };
            let expected: Vec<f32> =
                case["latents"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            let distance = distance(&latents(&pipeline, &request).to_nchw(), &expected);
            println!("{} {}: {distance:.1e}", case["sampler"], case["seed"]);
            assert!(distance < 1e-4, "{} {}: {distance:.1e}", case["sampler"], case["seed"]);
        }
    }
}

/// For every sampler that there is, with guidance and without.
#[test]
fn one_window_is_as_none_bit_for_bit() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    for sampler in calotype::sampling::SAMPLERS {
        let sampler = sampler.kind;
        let plain = Request { sampler, batch_size: 2, ..wide(None) };
        let expected = latents(&pipeline, &plain);
        for method in [TileMethod::MultiDiffusion, TileMethod::MixtureOfDiffusers] {
            let tiles = Some(Tiles { method, ..Tiles::default() });
            assert_eq!(latents(&pipeline, &Request { tiles, ..plain.clone() }), expected, "{}", sampler.id());
            let some = latents(&pipeline, &Request { tiles: Some(small(method)), ..plain.clone() });
            assert!(some.is_finite() && some != expected, "{}", sampler.id());
        }
    }
}

/// An image does not depend on how many windows or images go through the UNet at once.
#[test]
fn batches_change_nothing() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let style = Request {
        prompt_style: PromptStyle::A1111,
        prompt: "a (valley:1.2) AND [fog:sun:2] :0.5".to_owned(),
        batch_size: 2,
        ..wide(Some(small(TileMethod::MixtureOfDiffusers)))
    };
    let together = latents(&pipeline, &style);
    for batch_size in [1, 2, 100] {
        let tiles = Tiles { batch_size, ..style.tiles.clone().unwrap() };
        assert_eq!(latents(&pipeline, &Request { tiles: Some(tiles), ..style.clone() }), together);
    }
    let alone = latents(&pipeline, &Request { batch_size: 1, seed: style.seed + 1, ..style.clone() });
    assert_eq!(alone.data(), together.images().nth(1).unwrap());
}

#[test]
fn regions_follow_their_prompts() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let of =
        |regions: Vec<Region>| latents(&pipeline, &wide(Some(Tiles { regions, ..small(TileMethod::MultiDiffusion) })));
    let region =
        |prompt: &str, feather| Region { prompt: prompt.to_owned(), x: 0.5, width: 0.5, feather, ..Region::default() };
    let none = of(vec![]);
    let [red, blue, laid] = [region("red", None), region("blue", None), region("red", Some(0.3))].map(|r| of(vec![r]));
    assert!(red != none && blue != red && laid != red);
    // One step over all of the image with another prompt is that prompt's.
    let whole = Region { prompt: "a harbour".to_owned(), feather: Some(0.0), ..Region::default() };
    let laid = latents(&pipeline, &wide(Some(Tiles { regions: vec![whole], ..Tiles::default() })));
    let expected = latents(&pipeline, &Request { prompt: "a harbour".to_owned(), ..wide(None) });
    assert_eq!(laid, expected);
    // Another negative prompt is another image.
    let negative = Region { negative_prompt: Some("rain".to_owned()), ..region("red", None) };
    assert_ne!(of(vec![negative]), red);
}

/// Pictures to start from, masks, models made for inpainting and second passes go through windows as well.
#[test]
fn every_mode_takes_windows() {
    let place = TempDir::new().unwrap();
    let file = |name: &str, picture: &RgbImage| {
        let path = place.path().join(name);
        std::fs::write(&path, encode_png(picture, &[]).unwrap()).unwrap();
        InputImage::open(path).unwrap()
    };
    let mut half = RgbImage::filled(64, 32, [0; 3]);
    (0..32).flat_map(|y| (0..32).map(move |x| (x, y))).for_each(|(x, y)| half.set_pixel(x, y, [255; 3]));
    let init = Init { strength: 0.7, ..Init::new(file("init.png", &RgbImage::filled(64, 32, [200, 90, 20]))) };
    let mask = Inpaint { mask_blur: 0.0, ..Inpaint::new(Some(file("mask.png", &half))) };
    let from_picture = |init: Init| Request { init: Some(init), ..wide(None) };
    let hires = Hires { width: 96, height: 48, ..Hires::default() };
    for for_inpainting in [false, true] {
        let mut sizes = Sizes::default();
        sizes.unet.in_channels = if for_inpainting { 9 } else { 4 };
        let (_folder, model) = model(&sizes);
        let pipeline = load(&model);
        for request in [
            from_picture(init.clone()),
            from_picture(Init { inpaint: Some(mask.clone()), ..init.clone() }),
            Request { hires: Some(hires.clone()), ..wide(None) },
        ] {
            let expected = latents(&pipeline, &request);
            let with = |tiles: Tiles| latents(&pipeline, &Request { tiles: Some(tiles), ..request.clone() });
            assert_eq!(with(Tiles::default()), expected);
            let windows = with(small(TileMethod::MultiDiffusion));
            assert!(windows.is_finite() && windows != expected && windows.shape() == expected.shape());
        }
    }
}

/// What goes on at its other edge is the same wherever it is cut: shifted by a whole window, noise gives the shifted image.
#[test]
fn a_panorama_closes_on_itself() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let (steps, width) = (4, 16);
    let tiles = Tiles { width: 8, height: 8, overlap: 4, ..Tiles::default() };
    let start = Latents::new([1, 8, width, 4], (0..8 * width * 4).map(|n| (n as f32 * 1.7).sin() * 1.3).collect());
    let start = start.unwrap();
    let shifted = |x: &Latents, by: usize| {
        let row = width * 4;
        let data = x.data().chunks_exact(row).flat_map(|row| [&row[by * 4..], &row[..by * 4]].concat());
        x.with_data(data.collect()).unwrap()
    };
    let of = |start: Latents| {
        let request = Request {
            num_inference_steps: steps,
            latents: Some(Arc::new(start)),
            tiling: Tiling::X,
            tiles: Some(tiles.clone()),
            ..Request::new("all around")
        };
        latents(&pipeline, &request)
    };
    let [plain, moved] = [of(start.clone()), of(shifted(&start, 4))];
    assert!(distance(moved.data(), shifted(&plain, 4).data()) < 1e-5);
}

#[test]
fn the_memory_of_the_unet_is_that_of_its_windows() {
    let (_folder, model) = model(&Sizes::default());
    let of = |side: usize, tiles: Option<Tiles>| {
        let request = Request { width: Some(side), height: Some(side), tiles, ..Request::new("large") };
        plan(&model, &request).unwrap().arena_bytes()
    };
    let tiles = || Some(Tiles { width: 16, height: 16, overlap: 4, batch_size: 1, ..Tiles::default() });
    assert_eq!(of(1024, tiles()), of(256, tiles()));
    assert!(of(256, None) > 4 * of(256, tiles()));
    assert_eq!(of(64, None), of(64, Some(Tiles::default())));
}

#[test]
fn what_makes_no_windows_is_refused() {
    let (_folder, model) = model(&Sizes::default());
    let refused = |tiles: Tiles| plan(&model, &wide(Some(tiles))).map(drop).unwrap_err().to_string();
    let tiles = Tiles::default;
    for (tiles, message) in [
        (Tiles { width: 0, ..tiles() }, "tile width 0"),
        (Tiles { overlap: 96, ..tiles() }, "less than the tiles' sides"),
        (Tiles { batch_size: 0, ..tiles() }, "tile batch size 0"),
        (Tiles { regions: vec![Region { x: 0.8, ..Region::default() }], ..tiles() }, "region 0.8,0,1,1"),
        (Tiles { regions: vec![Region { x: f64::NAN, ..Region::default() }], ..tiles() }, "region NaN,0,1,1"),
        (
            Tiles { regions: vec![Region { feather: Some(2.0), ..Region::default() }], ..tiles() },
            "feather of a region 2",
        ),
    ] {
        let error = refused(tiles);
        assert!(error.contains(message) && !error.contains('\n'), "{error}");
    }
}

/// The image's file says of its windows what it takes to make it again, in A1111's words too.
#[test]
fn metadata_have_the_windows() {
    let (_folder, model) = model(&Sizes::default());
    let region = Region { prompt: "a fox".to_owned(), x: 0.25, width: 0.5, feather: Some(0.2), ..Region::default() };
    let tiles = Tiles { regions: vec![region], ..small(TileMethod::MixtureOfDiffusers) };
    let made = load(&model).generate(wide(Some(tiles.clone()))).unwrap().finish().unwrap();
    let metadata = made.images[0].metadata().unwrap();
    assert_eq!(Metadata::from_json(&metadata.to_json()).unwrap().request.tiles, Some(tiles.clone()));
    let text = metadata.parameters();
    let expected = "Tiled Diffusion method: Mixture of Diffusers, Tiled Diffusion tile width: 6, Tiled Diffusion tile height: 4, \
        Tiled Diffusion overlap: 2, Tiled Diffusion batch size: 3";
    assert!(text.contains(expected), "{text}");
    let again = metadata.request(&[]).unwrap().0;
    assert_eq!(again.tiles, Some(tiles));
}
