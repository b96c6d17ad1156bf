//! A run's results: equal to diffusers', and to themselves however the work is cut up.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use calotype::{
    Event, Keep, Latents, Model, Pipeline, PipelineOptions, Precision, Request, Stage, Step,
    latents::{read_latents, write_latents},
    metadata::Metadata,
};
use calotype_tensor::cpu::{CpuDevice, CpuDeviceOptions};
use std::sync::Arc;

use crate::common::{Sizes, conditioning, distance, golden::Golden, model, plan};

fn load(model: &Arc<Model>) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

fn latents(pipeline: &Pipeline, request: &Request) -> Latents {
    pipeline.generate(request.clone()).unwrap().finish_latents().unwrap()
}

fn short(prompt: &str) -> Request {
    Request { prompt: prompt.into(), num_inference_steps: 3, ..Default::default() }
}

#[test]
fn equals_diffusers() {
    let goldens = Golden::all();
    let (_a, epsilon) = model(&Sizes::default());
    let (_b, velocity) = model(&Sizes { prediction_type: "v_prediction", ..Sizes::default() });
    let (epsilon, velocity) = (load(&epsilon), load(&velocity));
    assert_eq!(goldens.len(), 8);
    for golden in goldens {
        let pipeline = if golden.prediction_type == "v_prediction" { &velocity } else { &epsilon };
        let pictures = pipeline.generate(golden.request()).unwrap().finish().unwrap();
        let error = distance(&pictures.latents.to_nchw(), &golden.latents);
        println!("{} {}: {error:.1e}", golden.sampler, golden.schedule);
        assert!(error <= 1e-4, "{} {}: {error:.1e}", golden.sampler, golden.schedule);
        if let Some(expected) = golden.picture {
            let picture = pictures.images[0].pixels.data();
            assert_eq!(picture.len(), expected.len());
            assert!(picture.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1));
        }
    }
}

#[test]
fn a_picture_does_not_depend_on_its_batch_or_on_threads() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    for sampler in ["ddim", "euler_a", "ddim_cfgpp", "dpmpp_sde", "dpm_adaptive"] {
        let sampler = sampler.parse().unwrap();
        let request = Request { sampler, seed: 10, batch_size: 3, ..short("a tree") };
        let batch = pipeline.generate(request.clone()).unwrap().finish().unwrap();
        let one_thread = CpuDevice::new(CpuDeviceOptions { threads: 1, ..Default::default() }).unwrap();
        let alone = Pipeline::new(one_thread, Arc::clone(&model), PipelineOptions::default());
        assert_eq!(latents(&alone, &request), batch.latents);
        for k in 0..3 {
            let alone = Request { seed: 10 + k as u64, batch_size: 1, ..request.clone() };
            let alone = pipeline.generate(alone.clone()).unwrap().finish().unwrap();
            assert_eq!(Some(alone.latents), batch.latents.slice(k, 1), "{sampler}");
            assert_eq!(alone.images[0].pixels, batch.images[k].pixels);
        }
    }
}

#[test]
fn a_run_is_an_iterator_of_steps() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let run = pipeline.generate(short("a tree")).unwrap();
    let steps: Vec<Step> =
        run.filter_map(|event| if let Event::Step(step) = event.unwrap() { Some(step) } else { None }).collect();
    let told: Vec<_> = steps.iter().map(|step| (step.index, step.total, step.latents.shape())).collect();
    assert_eq!(told, [0, 1, 2].map(|index| (index, 3, [1, 8, 8, 4])));
    let mut run = pipeline.generate(short("a tree")).unwrap();
    assert!(run.by_ref().take(5).all(|event| event.is_ok()));
    assert_eq!(run.finish_latents().unwrap(), latents(&pipeline, &short("a tree")));
    assert_eq!(steps[2].latents, latents(&pipeline, &short("a tree")));
}

#[test]
fn guidance_of_one_has_no_second_pass() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let long = "word ".repeat(100);
    let request = |negative: &str, guidance_scale| Request {
        negative_prompt: negative.to_owned(),
        guidance_scale,
        ..short("a tree")
    };
    // The negative prompt is not even read.
    assert!(pipeline.generate(request(&long, 1.0)).unwrap().warnings().is_empty());
    assert_eq!(latents(&pipeline, &request(&long, 1.0)), latents(&pipeline, &request("", 1.0)));
    assert_ne!(latents(&pipeline, &request("blue", 2.0)), latents(&pipeline, &request("", 2.0)));
    // At nearly 1 the second pass changes nearly nothing.
    let near = distance(latents(&pipeline, &request("", 1.0001)).data(), latents(&pipeline, &request("", 1.0)).data());
    assert!(near > 0.0 && near < 1e-3, "{near}");
}

/// CFG++ walks on with what is predicted without the prompt, at any scale; where both predictions are one, it is DDIM.
#[test]
fn cfgpp_needs_the_unconditional_prediction() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let request = |sampler: &str, negative: &str, guidance_scale| Request {
        sampler: sampler.parse().unwrap(),
        negative_prompt: negative.to_owned(),
        guidance_scale,
        ..short("a tree")
    };
    let cfgpp = |negative, scale| latents(&pipeline, &request("ddim_cfgpp", negative, scale));
    let ddim = latents(&pipeline, &request("ddim", "a tree", 1.0));
    for scale in [1.0, 7.5, 12.5] {
        let error = distance(cfgpp("a tree", scale).data(), ddim.data());
        assert!(error < 1e-5, "{error}");
        assert_ne!(cfgpp("blue", scale), cfgpp("red", scale), "at {scale}");
    }
}

#[test]
fn long_prompts_are_cut_with_a_warning() {
    let (_folder, model) = model(&Sizes::default());
    let request = short(&format!("{}the end", "word ".repeat(75)));
    let mut run = load(&model).generate(request).unwrap();
    assert!(run.by_ref().all(|event| event.is_ok()));
    let warnings: Vec<String> = run.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [r#"the prompt is longer than 75 tokens and was cut before "the end""#]);
}

#[test]
fn starting_latents_take_the_place_of_the_seed() {
    let (folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let request = Request { batch_size: 2, ..short("a tree") };
    let file = folder.path().join("latents.safetensors");
    let expected = latents(&pipeline, &request);
    write_latents(&file, &expected).unwrap();
    assert_eq!(read_latents(&file).unwrap(), expected);

    // diffusers' noise of seed 42, as torch draws it, is what the seed starts from.
    let noise = Latents::from_nchw([1, 4, 8, 8], &calotype_diffusion::Generator::manual_seed(42).randn(256)).unwrap();
    write_latents(&file, &noise).unwrap();
    let request = Request { seed: 5, latents: Some(read_latents(&file).unwrap().into()), ..short("a tree") };
    assert_eq!(Some(latents(&pipeline, &request)), expected.slice(0, 1));
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let (_folder, model) = model(&Sizes::default());
    let refused = |request: Request, message: &str| {
        let error = plan(&model, &request).expect_err(message);
        assert!(error.is_request(), "{error}");
        assert_eq!(error.to_string(), message);
    };
    let size = |width, height| Request { width: Some(width), height: Some(height), ..short("") };
    let needs = "which this model needs";
    refused(size(30, 32), &format!("width 30 is not a multiple of 4, {needs}: give 28 or 32"));
    refused(size(32, 7), &format!("height 7 is not a multiple of 4, {needs}: give 4 or 8"));
    refused(size(0, 32), &format!("width 0 is not a multiple of 4, {needs}: give 4"));
    refused(size(32, usize::MAX), &format!("height {} is too large: give at most 16384", usize::MAX));
    let steps = |num_inference_steps| Request { num_inference_steps, ..short("") };
    refused(steps(0), "0 steps are out of range for sampler ddim: give 1 to 999");
    refused(steps(1000), "1000 steps are out of range for sampler ddim: give 1 to 999");
    let guidance = |guidance_scale| Request { guidance_scale, ..short("") };
    refused(guidance(f32::NAN), "guidance scale NaN is out of range: give a number from 0, such as 7.5");
    refused(guidance(-1.0), "guidance scale -1 is out of range: give a number from 0, such as 7.5");
    refused(Request { batch_size: 0, ..short("") }, "batch size 0 is out of range: give 1 to 1024");
    let euler = Request { sampler: "euler".parse().unwrap(), eta: Some(0.5), ..short("") };
    refused(euler, "sampler euler has no eta (got 0.5): leave eta at 0 or use the sampler ddim");
    let start = Latents::new([1, 8, 4, 4], vec![0.0; 128]).unwrap();
    let given = Request { latents: Some(start.into()), width: Some(32), ..short("") };
    refused(given, "the starting latents are [1, 4, 8, 4], expected [1, 4, 8, 8] for 1 of 32 x 32 pixels");
    if cfg!(target_os = "linux") {
        let huge = Request { batch_size: 1024, ..size(16384, 16384) };
        assert!(plan(&model, &huge).is_err_and(|error| error.to_string().contains("GiB of memory")));
    }
}

#[test]
fn endless_guidance_ends_in_an_error() {
    let (_folder, model) = model(&Sizes::default());
    let request = Request { guidance_scale: f32::MAX, ..short("a tree") };
    let error = load(&model).generate(request.clone()).unwrap().finish().unwrap_err().to_string();
    assert!(error.starts_with("the latents are no longer finite numbers"), "{error}");
}

#[test]
fn metadata_has_the_form_of_a1111() {
    let (_folder, model) = model(&Sizes::default());
    let request = Request {
        negative_prompt: "blurry".into(),
        sampler: "dpmpp_2m".parse().unwrap(),
        schedule: "karras".parse().unwrap(),
        ..short("a tree,\nin autumn")
    };
    let plan = plan(&model, &request).unwrap();
    let metadata = Metadata::new(&model, &plan, Precision::F32, 2).unwrap();
    let (short_hash, name) = (&model.hash().unwrap()[..10], model.name());
    let expected = format!(
        "a tree,\nin autumn\nNegative prompt: blurry\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, \
         CFG scale: 7.5, Seed: 44, Size: 32x32, Model hash: {short_hash}, Model: {name}, RNG: CPU, Version: calotype {}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(metadata.parameters(), expected);
}

#[test]
fn pictures_do_not_depend_on_what_stays_in_memory() {
    let (_folder, model) = model(&Sizes::default());
    let request = short("a tree");
    let expected = load(&model).generate(request.clone()).unwrap().finish().unwrap();
    for keep in [Keep::Nothing, Keep::UNet] {
        let pipeline = Pipeline::load(Arc::clone(&model), PipelineOptions { keep, ..Default::default() }).unwrap();
        for _ in 0..2 {
            let pictures = pipeline.generate(request.clone()).unwrap().finish().unwrap();
            assert_eq!(pictures.latents, expected.latents);
            assert_eq!(pictures.images[0].pixels, expected.images[0].pixels);
        }
    }
}

#[test]
fn networks_are_read_when_they_are_needed() {
    let (folder, model) = model(&Sizes::default());
    let kept = load(&model);
    kept.preload().unwrap();
    let nothing = Pipeline::load(Arc::clone(&model), PipelineOptions::default()).unwrap();
    let mut run = nothing.generate(short("a tree")).unwrap();
    assert!(run.any(|event| event.unwrap() == Event::Stage(Stage::Denoising)));
    // Cut short in place, for an open file stays what it is when its name goes.
    for file in ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"] {
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(format!("{file}.safetensors")));
        file.unwrap().set_len(8).unwrap();
    }
    assert!(kept.generate(short("a bird")).unwrap().finish().is_ok());
    // The run has its UNet, and the text is remembered; the decoder and the next run's UNet are still to be read.
    let latents = run.finish_latents().unwrap();
    assert!(nothing.decode(&latents).is_err());
    assert!(nothing.generate(short("a tree")).unwrap().finish_latents().is_err());
    assert!(conditioning(&nothing, &short("a tree")).is_ok());
    assert!(conditioning(&nothing, &short("a bird")).is_err());
}

#[test]
fn tiles_of_the_shipped_models_pictures_have_no_seams() {
    let model = Arc::new(Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/emoji")).unwrap());
    let request = Request { width: Some(192), height: Some(256), seed: 3, ..short("a cat on a blue background") };
    let whole = Pipeline::load(Arc::clone(&model), PipelineOptions::default()).unwrap();
    let latents = latents(&whole, &request);
    let tiled = Pipeline::load(Arc::clone(&model), PipelineOptions { vae_tiling: true, ..Default::default() }).unwrap();
    let [whole, tiled] = [whole, tiled].map(|pipeline| pipeline.decode(&latents).unwrap().remove(0));
    let distances: Vec<u8> = whole.data().iter().zip(tiled.data()).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = distances.iter().map(|&d| f64::from(d)).sum::<f64>() / distances.len() as f64;
    println!("mean difference {mean:.1e}, greatest {}", distances.iter().max().unwrap());
    // In grey levels of 255. Eight bands of 32 rows; only what lies between two levels may round to the other one.
    assert!(mean < 0.01 && distances.iter().all(|&d| d <= 1), "{mean}");
    let mid = whole.data().iter().map(|&x| f64::from(x)).sum::<f64>() / distances.len() as f64;
    assert!(whole.data().iter().any(|&x| (f64::from(x) - mid).abs() > 30.0), "the picture is a plain area");
}

/// A program moves what it holds to other threads, a run under way included.
#[test]
fn a_run_can_be_sent() {
    fn assert_send<T: Send>() {}
    assert_send::<calotype::Run>();
    assert_send::<Pipeline>();
}
