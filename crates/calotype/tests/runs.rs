//! Runs as a program uses them: several at a time on threads, cancelled wherever they are, within one memory budget, on any device.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use calotype::{
    Error, Event, Keep, Model, NotFinite, Pipeline, PipelineOptions, Precision, Request, RunOptions, Stage, Warning,
    latents::LatentRgb,
    memory::MemoryBudget,
    request::{Hires, Init, InputImage, Upscaler},
    sampling::{BoxDenoiser, Context, Levels, SamplerKind, ScheduleKind, Solver},
};
use calotype_diffusion::{Denoiser, Latents, NoiseLevel};
use calotype_image::{RgbImage, encode_png};
use calotype_models::Component;
use calotype_tensor::reference::ReferenceDevice;

use crate::common::{Sizes, distance, model};

fn short(prompt: &str) -> Request {
    Request { num_inference_steps: 3, ..Request::new(prompt) }
}

fn load(model: &Arc<Model>, options: PipelineOptions) -> Pipeline {
    Pipeline::load(Arc::clone(model), options).unwrap()
}

/// A file of an image to start from.
fn picture(folder: &Path) -> InputImage {
    let data = (0..32 * 32 * 3).map(|n| (n * 7 % 256) as u8).collect();
    let path = folder.join("init.png");
    std::fs::write(&path, encode_png(&RgbImage::new(32, 32, data).unwrap(), &[]).unwrap()).unwrap();
    InputImage::open(&path).unwrap()
}

#[test]
fn a_program_keeps_several_models_and_runs_jobs_on_threads() {
    let sizes = [Sizes::default(), Sizes::default()];
    let folders: Vec<_> = sizes.iter().map(model).collect();
    let mut pipelines: HashMap<&str, Pipeline> = HashMap::new();
    for (name, (_, model)) in ["one", "two"].into_iter().zip(&folders) {
        pipelines.insert(name, load(model, PipelineOptions { keep: Keep::All, ..Default::default() }));
    }
    let expected = pipelines["one"].generate(short("a tree")).unwrap().finish_latents().unwrap();
    let jobs: Vec<_> = ["one", "two", "one"]
        .into_iter()
        .map(|name| {
            let pipeline = pipelines[name].clone();
            thread::spawn(move || pipeline.generate(short("a tree"))?.finish_latents())
        })
        .collect();
    // Dropped while its jobs run: they hold what they need.
    pipelines.remove("two");
    for job in jobs {
        assert_eq!(job.join().unwrap().unwrap(), expected);
    }
}

#[test]
fn a_run_tells_its_stages_in_order() {
    let folder = tempfile::TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions::default());
    let stages = |request: Request| -> Vec<String> {
        let name = |event| match event {
            Event::Stage(stage) => stage.to_string(),
            Event::Step(step) => format!("step {}", step.index),
            Event::Decoded { index, total } => format!("image {index} of {total}"),
            _ => String::new(),
        };
        pipeline.generate(request).unwrap().map(|event| name(event.unwrap())).collect()
    };
    let encode = ["loading the text encoder", "encoding the prompt"];
    let unet = ["loading the UNet", "denoising", "step 0", "step 1", "step 2"];
    let decode = ["loading the VAE", "decoding", "image 0 of 1"];
    assert_eq!(stages(short("a tree")), [&encode[..], &unet, &decode].concat());
    // The last 16 prompts are remembered, those used last the longest.
    assert_eq!(stages(short("a tree")), [&unet[..], &decode].concat());
    for n in 0..15 {
        stages(short(&format!("{n} trees")));
    }
    assert_eq!(stages(short("a tree")), [&unet[..], &decode].concat());
    stages(short("a hill"));
    assert_eq!(stages(short("a tree")), [&unet[..], &decode].concat());
    assert_eq!(stages(short("0 trees")), [&encode[..], &unet, &decode].concat());
    let init = Some(Init { strength: 1.0, ..Init::new(picture(folder.path())) });
    let image = ["loading the VAE", "encoding the image"];
    assert_eq!(stages(Request { init, ..short("a tree") }), [&image[..], &unet, &decode].concat());
}

/// At every event of a run with an image, a hires fix or only a prompt: what comes next is that it was cancelled, and nothing
/// after it. The pipeline works as before.
#[test]
fn a_run_is_cancelled_wherever_it_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let init = Some(Init { strength: 0.7, ..Init::new(picture(folder.path())) });
    let hires = Some(Hires { width: 64, upscaler: Upscaler::Lanczos, ..Hires::default() });
    for keep in [Keep::Nothing, Keep::All] {
        for request in
            [Request { init: init.clone(), ..short("a tree") }, Request { hires: hires.clone(), ..short("a tree") }]
        {
            let budget = MemoryBudget::with_limit(1 << 30);
            let pipeline = load(&model, PipelineOptions { keep, memory: budget.clone(), ..Default::default() });
            // The prompt is remembered from the first run on.
            let _ = pipeline.generate(request.clone()).unwrap().count();
            let events = pipeline.generate(request.clone()).unwrap().count();
            for after in 0..events {
                let mut run = pipeline.generate(request.clone()).unwrap();
                assert!(run.by_ref().take(after).all(|event| event.is_ok()));
                run.cancel_token().cancel();
                assert!(matches!(run.next(), Some(Err(Error::Cancelled))), "{after}");
                assert!(run.next().is_none() && run.finish().is_err());
            }
            let reserved = budget.reserved();
            assert!(if keep == Keep::Nothing { reserved == 0 } else { reserved > 0 }, "{reserved}");
            let run = pipeline.generate(request).unwrap();
            let cancel = run.cancel_token();
            let output = run.finish().unwrap();
            cancel.cancel();
            let file = folder.path().join("cancelled.png");
            assert!(output.images[0].save_png(&file).unwrap_err().is_cancelled() && !file.exists());
        }
    }
}

/// A step of this model takes many operations; between two of them it looks.
#[test]
fn a_step_is_cancelled_in_its_midst() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions { keep: Keep::All, ..Default::default() });
    let request =
        Request { batch_size: 8, width: Some(128), height: Some(128), num_inference_steps: 50, ..short("a tree") };
    let mut run = pipeline.generate(request).unwrap();
    let begin = Instant::now();
    assert!(run.any(|event| matches!(event.unwrap(), Event::Step(step) if step.index == 1)));
    let two_steps = begin.elapsed();
    let cancel = run.cancel_token();
    let (tell, told) = mpsc::channel();
    let canceller = thread::spawn(move || {
        told.recv().unwrap();
        thread::sleep(two_steps / 8);
        cancel.cancel();
        Instant::now()
    });
    tell.send(()).unwrap();
    let error = run.find_map(Result::err).unwrap();
    let late = canceller.join().unwrap().elapsed();
    assert!(error.is_cancelled());
    assert!(late < two_steps.max(Duration::from_millis(100)), "{late:?} after it was cancelled");
}

#[test]
fn two_runs_that_do_not_fit_side_by_side_do_not_both_start() {
    let (_folder, model) = model(&Sizes::default());
    let whole = MemoryBudget::with_limit(u64::MAX);
    let options = |memory: &MemoryBudget| PipelineOptions { memory: memory.clone(), ..Default::default() };
    let pipeline = load(&model, options(&whole));
    let run = pipeline.generate(short("a tree")).unwrap();
    let needed = whole.reserved();
    assert!(needed > 0);
    drop(run);
    assert_eq!(whole.reserved(), 0);
    let tight = MemoryBudget::with_limit(needed * 3 / 2);
    let [one, two] = [load(&model, options(&tight)), load(&model, options(&tight))];
    let first = one.generate(short("a tree")).unwrap();
    match two.generate(short("a bird")).err().unwrap() {
        Error::OutOfMemory { needed: asked, free } => assert_eq!((asked, free), (needed, tight_left(needed))),
        other => panic!("{other}"),
    }
    assert!(first.finish().is_ok());
    assert!(two.generate(short("a bird")).unwrap().finish().is_ok());
    let none = load(&model, options(&MemoryBudget::with_limit(1000)));
    let error = none.plan(short("a tree")).unwrap_err();
    assert!(error.is_out_of_memory() && !error.is_request() && error.to_string().contains("GiB"), "{error}");
}

/// Who asks for too much is told what there is memory for.
#[test]
fn an_image_that_fits_is_told_where_one_does_not() {
    let (_folder, model) = model(&Sizes::default());
    let whole = MemoryBudget::with_limit(u64::MAX);
    let options = |memory: &MemoryBudget| PipelineOptions { memory: memory.clone(), ..Default::default() };
    let request = |[width, height]: [usize; 2], batch_size| Request {
        width: Some(width),
        height: Some(height),
        batch_size,
        ..short("a tree")
    };
    let pipeline = load(&model, options(&whole));
    let needed = |size, batch| {
        let _run = pipeline.generate(request(size, batch)).unwrap();
        whole.reserved()
    };
    for (size, batch) in [([256, 128], 1), ([64, 64], 8)] {
        let tight = load(&model, options(&MemoryBudget::with_limit(needed(size, batch) - 1)));
        let error = tight.plan(request(size, batch)).unwrap_err();
        let Error::TooLarge { width, height, .. } = error else { panic!("{error}") };
        assert!(error.is_out_of_memory() && error.to_string().contains(&format!("{width} x {height}")), "{error}");
        assert!(width <= size[0] && height <= size[1] && (batch > 1 || width < size[0]), "{width} x {height}");
        assert!(tight.plan(request([width, height], 1)).is_ok());
    }
}

fn tight_left(needed: u64) -> u64 {
    needed * 3 / 2 - needed
}

#[test]
fn a_kept_network_is_not_reserved_twice() {
    let (_folder, model) = model(&Sizes::default());
    let memory = MemoryBudget::with_limit(u64::MAX);
    let pipeline = load(&model, PipelineOptions { keep: Keep::UNet, memory: memory.clone(), ..Default::default() });
    pipeline.generate(short("a tree")).unwrap().finish().unwrap();
    let kept = memory.reserved();
    let run = pipeline.generate(short("a bird")).unwrap();
    let both = memory.reserved();
    drop(run);
    let fresh = load(
        &model,
        PipelineOptions { keep: Keep::UNet, memory: MemoryBudget::with_limit(both), ..Default::default() },
    );
    assert!(kept > 0 && fresh.generate(short("a bird")).unwrap().finish().is_ok());
    drop(pipeline);
    assert_eq!(memory.reserved(), 0);
}

/// The whole way on another device: readable loops, which share no code with the kernels.
#[test]
fn the_reference_is_a_device() {
    let (_folder, model) = model(&Sizes::default());
    let request = Request { num_inference_steps: 2, ..short("a tree") };
    let made = load(&model, PipelineOptions::default()).generate(request.clone()).unwrap().finish().unwrap();
    let reference = Pipeline::new(ReferenceDevice::<f32>::new(), Arc::clone(&model), PipelineOptions::default());
    let held_to = reference.generate(request).unwrap().finish().unwrap();
    let apart = distance(made.latents.data(), held_to.latents.data());
    assert!(apart < 1e-5, "{apart:e}");
    let pixels = made.images[0].pixels.data().iter().zip(held_to.images[0].pixels.data());
    assert!(pixels.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1));
    let half = PipelineOptions { precision: Precision::BF16, ..Default::default() };
    let half = Pipeline::new(ReferenceDevice::<f32>::new(), model, half);
    let error = half.generate(short("a tree")).err().unwrap().to_string();
    assert!(error.contains("bf16") && error.contains("expected f32"), "{error}");
}

#[test]
fn previews_show_where_the_images_are_going() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions::default());
    let mut run = pipeline.generate(Request { batch_size: 2, ..short("a tree") }).unwrap();
    assert!(run.preview().is_empty());
    let mut last = None;
    while let Some(event) = run.next() {
        if let Event::Step(step) = event.unwrap() {
            let images = run.preview();
            assert_eq!(images.len(), 2);
            assert_eq!((images[0].width(), images[0].height()), (8, 8));
            last = Some((images, step.latents));
        }
    }
    // At the last step of ddim the prediction is the result, but for a little noise.
    let (images, latents) = last.unwrap();
    let result = LatentRgb::of(&model).unwrap().images(&latents);
    for (shown, result) in images.iter().zip(&result) {
        assert!(shown.data().iter().zip(result.data()).all(|(a, b)| a.abs_diff(*b) < 8));
    }
}

/// Adds a constant to each prediction.
struct Shifted(BoxDenoiser, Arc<AtomicUsize>);

impl Denoiser for Shifted {
    type Error = Error;

    fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.denoise(x, level)?.map(|x| x + 0.25))
    }
}

#[test]
fn a_caller_wraps_the_denoiser() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions::default());
    let plain = pipeline.generate(short("a tree")).unwrap().finish_latents().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let wrap_denoiser: Arc<dyn Fn(BoxDenoiser) -> BoxDenoiser + Send + Sync> =
        Arc::new(move |inner| Box::new(Shifted(inner, Arc::clone(&seen))));
    let options = RunOptions { wrap_denoiser: Some(wrap_denoiser), ..Default::default() };
    let run = pipeline.run_with(pipeline.plan(short("a tree")).unwrap(), options).unwrap();
    let shifted = run.finish_latents().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    // The last step of ddim ends at the prediction.
    let mean = |latents: &Latents| latents.data().iter().sum::<f32>() / latents.data().len() as f32;
    assert!(mean(&shifted) > mean(&plain) + 0.1);
}

/// One evaluation and all the way to the next level.
struct FirstOrder;

impl Solver<Error> for FirstOrder {
    fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, Error>) -> Result<Latents, Error> {
        let d = ctx.derivative(x, levels.from)?;
        Ok(Latents::sum([(1.0, x), (levels.to.sigma - levels.from.sigma, &d)]))
    }
}

#[test]
fn a_caller_brings_a_solver_and_changes_latents_between_steps() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions::default());
    let request = |sampler| Request { sampler, schedule: ScheduleKind::Karras, ..short("a tree") };
    let euler = pipeline.generate(request(SamplerKind::Euler)).unwrap().finish_latents().unwrap();
    let options = RunOptions { solver: Some(Arc::new(|| Box::new(FirstOrder))), ..Default::default() };
    let plan = pipeline.plan(request(SamplerKind::Heun)).unwrap();
    assert_eq!(pipeline.run_with(plan, options).unwrap().finish_latents().unwrap(), euler);

    let mut run = pipeline.generate(request(SamplerKind::Euler)).unwrap();
    assert!(run.latents_mut().is_none());
    while let Some(event) = run.next() {
        if let Event::Step(step) = event.unwrap()
            && step.index + 1 == step.total
        {
            run.latents_mut().unwrap().data_mut().fill(0.25);
        }
    }
    let made = run.finish().unwrap();
    assert!(made.latents.data().iter().all(|&x| x == 0.25));
    assert_eq!(made.images[0].pixels, pipeline.decode(&made.latents).unwrap()[0]);

    let mut run = pipeline.generate(request(SamplerKind::Euler)).unwrap();
    while let Some(event) = run.next() {
        if let (Event::Step(step), Some(latents)) = (event.unwrap(), run.latents_mut())
            && step.index + 1 == step.total
        {
            latents.data_mut().fill(f32::NAN);
            break;
        }
    }
    assert!(matches!(run.finish().unwrap_err(), Error::NotFinite(NotFinite::Latents)));
}

#[test]
fn a_run_saves_images_with_all_that_makes_them_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model, PipelineOptions::default());
    let made = pipeline.generate(Request { seed: 9, ..short("a tree") }).unwrap().finish().unwrap();
    let path = folder.path().join("tree.png");
    made.images[0].save_png(&path).unwrap();
    let texts = calotype_image::read_png_text(&std::fs::read(&path).unwrap()).unwrap();
    let (_, json) = texts.iter().find(|(key, _)| key == calotype::metadata::JSON_KEYWORD).unwrap();
    let again = calotype::metadata::Metadata::from_json(json).unwrap().request(&[]).unwrap().0;
    assert_eq!(pipeline.generate(again).unwrap().finish().unwrap().images[0].pixels, made.images[0].pixels);
    let error = made.images[0].save_png(folder.path().join("no/such/folder.png")).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("not written"), "{error}");
}

/// A weight that is no number: each network says that it was it, and no black image is made.
#[test]
fn weights_that_are_no_numbers_end_in_an_error_that_names_the_network() {
    for (network, expected) in [
        (Component::TextEncoder, NotFinite::TextEncoder),
        (Component::UNet, NotFinite::Latents),
        (Component::Vae, NotFinite::VaeDecoder),
    ] {
        let (folder, _) = model(&Sizes::default());
        let tensor = match network {
            Component::TextEncoder | Component::TextEncoder2 => "text_model.final_layer_norm.bias",
            Component::UNet => "conv_out.bias",
            Component::Vae => "decoder.conv_out.bias",
        };
        let [(stem, ending), _] = network.weight_files();
        crate::common::spoil(&folder.path().join(format!("{}/{stem}.{ending}", network.id())), tensor);
        let model = Arc::new(Model::open(folder.path()).unwrap());
        for precision in [Precision::F32, Precision::F16] {
            let pipeline = load(&model, PipelineOptions { precision, ..Default::default() });
            match pipeline.generate(short("a tree")).unwrap().finish().unwrap_err() {
                Error::NotFinite(found) => assert_eq!(found, expected),
                other => panic!("{other}"),
            }
        }
    }
}

/// Values that f16 has no room for: the image is decoded again in f32, with a warning.
#[test]
fn what_overflows_in_16_bits_is_decoded_again_in_32() {
    let (_folder, model) = model(&Sizes::default());
    let latents =
        |scale: f32| Latents::new([1, 4, 4, 4], (0..64).map(|n| scale * (n as f32 - 31.5)).collect()).unwrap();
    let [half, full] = [Precision::F16, Precision::F32]
        .map(|precision| load(&model, PipelineOptions { precision, ..Default::default() }));
    let scale = (0..40).map(|n| 2f32.powi(n)).find(|&scale| half.decode_unscaled(&latents(scale)).is_err());
    let large = latents(scale.unwrap() * model.vae_config().scaling_factor);
    assert_eq!(half.decode(&large).unwrap(), full.decode(&large).unwrap());
    let wrap: Arc<dyn Fn(BoxDenoiser) -> BoxDenoiser + Send + Sync> = {
        let large = large.clone();
        Arc::new(move |_| Box::new(Constant(large.clone())))
    };
    let options = RunOptions { wrap_denoiser: Some(wrap), ..RunOptions::default() };
    let request = Request { width: Some(16), height: Some(16), ..short("a tree") };
    let mut run = half.run_with(half.plan(request).unwrap(), options).unwrap();
    assert!(run.by_ref().all(|event| event.is_ok()));
    assert!(run.warnings().contains(&Warning::DecodedInF32 { precision: Precision::F16 }), "{:?}", run.warnings());
}

/// Predicts the same, whatever it sees.
struct Constant(Latents);

impl Denoiser for Constant {
    type Error = Error;

    fn denoise(&mut self, _: &Latents, _: NoiseLevel) -> Result<Latents, Error> {
        Ok(self.0.clone())
    }
}

#[test]
fn nothing_is_loaded_before_it_is_needed() {
    let (_folder, model) = model(&Sizes::default());
    let memory = MemoryBudget::with_limit(u64::MAX);
    let pipeline = load(&model, PipelineOptions { keep: Keep::All, memory: memory.clone(), ..Default::default() });
    assert_eq!(memory.reserved(), 0);
    pipeline.preload().unwrap();
    assert!(memory.reserved() > 0);
    let mut run = pipeline.generate(short("a tree")).unwrap();
    let loading = |event: &Event| matches!(event, Event::Stage(Stage::Loading(_)));
    // They are announced, for the caller can't know, but take no time.
    assert!(run.any(|event| loading(&event.unwrap())));
}
