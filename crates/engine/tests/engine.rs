//! Jobs go through an engine with the model of this repository.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use calotype::{
    CancelToken, CpuDevice, CpuDeviceOptions, Device, Pipeline, Precision, Request, metadata,
    request::{Hires, Init, InputImage},
};
use calotype_engine::{
    Asked, BUILT_IN, Card, Engine, EngineOptions, Error, Format, Notice, Order, OutputFormat, Submission,
};
use calotype_publish::{Options, Publisher};
use calotype_queue::{Job, State};
use calotype_tensor::{BackendOptions, Threads};
use tempfile::TempDir;

type Notices = Arc<Mutex<Vec<Notice>>>;

fn options(data: &Path) -> EngineOptions {
    let device = CpuDevice::new(CpuDeviceOptions::default()).unwrap();
    let publisher = Publisher::open(Options::default(), &device).unwrap();
    EngineOptions { disk_floor: 0, ..EngineOptions::new(data.to_owned(), publisher) }
}

fn engine(data: &Path) -> (Engine, Notices) {
    let notices = Notices::default();
    let told = Arc::clone(&notices);
    let engine = Engine::open(options(data), move |notice| told.lock().unwrap().push(notice.clone())).unwrap();
    (engine, notices)
}

fn order(steps: usize) -> Order {
    let request = Request { num_inference_steps: steps, seed: 7, ..Request::new("a fox") };
    Order {
        request,
        model: BUILT_IN.to_owned(),
        vae: None,
        output: OutputFormat::default(),
        asked: Asked { key: "k_1".to_owned(), ..Asked::default() },
        webhook: None,
    }
}

fn submit(engine: &Engine, order: Order) -> Result<Job, Error> {
    engine.submit(Submission::new(order, "k_1"), |_| Ok::<(), Error>(())).map(|(submitted, _)| submitted.job)
}

fn wait(engine: &Engine, job: &Job, is_it: impl Fn(&Job) -> bool) -> Job {
    let begin = Instant::now();
    loop {
        let job = engine.job(job.id).unwrap().unwrap();
        if is_it(&job) {
            return job;
        }
        assert!(begin.elapsed() < Duration::from_secs(300), "{job:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_over(job: &Job) -> bool {
    job.state.is_over()
}

#[test]
fn a_job_becomes_images_that_make_themselves_again() {
    let folder = TempDir::new().unwrap();
    let (engine, notices) = engine(folder.path());
    engine.start().unwrap();
    let two = Order {
        request: Request { batch_size: 2, ..order(3).request },
        output: OutputFormat { format: Format::Webp, ..OutputFormat::default() },
        ..order(3)
    };
    let job = submit(&engine, two).unwrap();
    let done = wait(&engine, &job, is_over);
    assert_eq!((done.state, done.results.len()), (State::Succeeded, 2), "{:?}", done.error);
    let (file, bytes) = engine.result(&done, 1).unwrap();
    assert_eq!((file.media_type.as_str(), file.about["seed"].as_u64()), ("image/webp", Some(8)));
    let reading = metadata::read(&bytes).unwrap();
    assert!(reading.is_complete && reading.metadata.request.seed == 8);
    assert!(matches!(engine.result(&done, 2), Err(Error::NoResult { number: 2, .. })));

    // The same image alone, and the same bytes but for its watermark's random id: so compare pixels' request.
    let alone = Order { request: Request { seed: 8, ..order(3).request }, ..order(3) };
    let job = submit(&engine, alone).unwrap();
    let alone = wait(&engine, &job, is_over);
    let pixels = |bytes: &[u8]| calotype_image::decode(bytes, &calotype_image::Limits::default()).unwrap();
    let psnr = calotype_image::psnr(&pixels(&bytes), &pixels(&engine.result(&alone, 0).unwrap().1)).unwrap();
    assert!(psnr > 40.0, "{psnr}");

    let told = notices.lock().unwrap();
    let states: Vec<State> = told
        .iter()
        .filter_map(|notice| match notice {
            Notice::Event(event) if event.job == done.id => Some(event.state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [State::Queued, State::Leased, State::Running, State::Checking, State::Succeeded]);
    let steps = |stage: &str| {
        told.iter().filter(|notice| matches!(notice, Notice::Took { stage: took, .. } if *took == stage)).count()
    };
    assert_eq!((steps("step"), steps("wait")), (6, 2));
    drop(told);
    assert_eq!(engine.loaded(), [BUILT_IN]);
    assert!(engine.prepare(&order(3)).unwrap().estimate_s.is_some_and(|seconds| seconds > 0.0));
    assert!(engine.drain(Duration::from_secs(20)));
}

#[test]
fn a_job_is_cancelled_while_it_is_worked_on() {
    let folder = TempDir::new().unwrap();
    let (engine, notices) = engine(folder.path());
    engine.start().unwrap();
    let job = submit(&engine, order(150)).unwrap();
    let next = submit(&engine, order(2)).unwrap();
    wait(&engine, &job, |job| engine.progress(job.id).is_some_and(|progress| progress.step > 1));
    let preview = engine.preview(job.id).unwrap();
    assert!(preview.jpeg.starts_with(&[0xff, 0xd8]));
    let begin = Instant::now();
    engine.cancel(job.id).unwrap();
    assert_eq!(wait(&engine, &job, is_over).state, State::Cancelled);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(wait(&engine, &next, is_over).state, State::Succeeded);
    assert!(engine.progress(job.id).is_none() && engine.preview(job.id).is_none());
    let again = engine.retry(job.id).unwrap();
    engine.cancel(again.id).unwrap();
    wait(&engine, &job, is_over);
    engine.forget(job.id).unwrap();
    assert!(engine.job(job.id).unwrap().is_none());
    let told = notices.lock().unwrap();
    assert!(told.iter().any(|notice| matches!(notice, Notice::Progress { progress, .. } if progress.fraction > 0.0)));
}

#[test]
fn what_was_worked_on_when_the_engine_went_is_worked_on_again() {
    let folder = TempDir::new().unwrap();
    let job = {
        let (engine, _) = engine(folder.path());
        engine.start().unwrap();
        let long = Request { width: Some(512), height: Some(512), ..order(100).request };
        let job = submit(&engine, Order { request: long, ..order(100) }).unwrap();
        wait(&engine, &job, |job| engine.progress(job.id).is_some_and(|progress| progress.step > 1));
        // It has longer to go than this.
        assert!(engine.drain(Duration::from_secs(1)));
        assert!(matches!(submit(&engine, order(1)), Err(Error::Draining)));
        let job = engine.job(job.id).unwrap().unwrap();
        assert_eq!((job.state, job.attempt, job.deaths), (State::Queued, 1, 0));
        job
    };
    let (engine, _) = engine(folder.path());
    engine.start().unwrap();
    let begun = wait(&engine, &job, |job| job.state == State::Running);
    assert_eq!(begun.attempt, 2);
    engine.cancel(job.id).unwrap();
    assert_eq!(wait(&engine, &job, is_over).state, State::Cancelled);
}

#[test]
fn what_can_not_be_made_is_refused_before_it_is_taken() {
    let folder = TempDir::new().unwrap();
    let (engine, _) = engine(folder.path());
    let refused = |order: Order| submit(&engine, order).unwrap_err();
    let with = |change: &dyn Fn(&mut Order)| {
        let mut order = order(2);
        change(&mut order);
        refused(order)
    };
    let error = with(&|order| order.model = "../../etc/passwd".to_owned());
    assert_eq!((error.code(), error.field()), ("model_not_found", Some("model")));
    assert_eq!(error.to_string(), "there is no model \"../../etc/passwd\": use one of built-in");
    let error = with(&|order| order.request.num_inference_steps = 151);
    assert_eq!((error.code(), error.field()), ("out_of_range", Some("num_inference_steps")));
    let error = with(&|order| order.request.width = Some(1 << 40));
    assert_eq!(error.field(), Some("width"));
    let error = with(&|order| order.request.width = Some(65));
    assert_eq!((error.code(), error.field()), ("out_of_range", Some("width")));
    let error = with(&|order| order.request.prompt = "x".repeat(65 << 10));
    assert_eq!(error.field(), Some("prompt"));
    let nowhere = InputImage::from(calotype::RgbaImage::filled(8, 8, [1, 2, 3, 255]));
    let error = with(&|order| order.request.init = Some(Init::new(nowhere.clone())));
    assert_eq!(error.code(), "input_not_found");
    let network = Some("RealESRGAN_x4plus".to_owned());
    let hires = Hires { width: 128, height: 128, network, ..Hires::default() };
    let error = with(&|order| order.request.hires = Some(hires.clone()));
    assert_eq!((error.code(), error.field()), ("unknown_name", Some("hires.network")));
    let expected =
        "there are no networks for super-resolution here, such as \"RealESRGAN_x4plus\": leave out hires.network";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert_eq!(engine.list(&Default::default()).unwrap().len(), 0);

    let mut full = options(&folder.path().join("full"));
    full.disk_floor = u64::MAX;
    let full = Engine::open(full, |_| {}).unwrap();
    assert!(matches!(submit(&full, order(2)), Err(Error::DiskFull { .. })));
    assert!(full.check_ready().is_err() && engine.check_ready().is_ok());
}

#[test]
fn an_input_image_is_what_a_job_starts_from() {
    let folder = TempDir::new().unwrap();
    let (engine, _) = engine(folder.path());
    engine.start().unwrap();
    let image = calotype::RgbImage::filled(64, 64, [200, 30, 30]);
    let png = calotype_image::encode_png(&image, &[]).unwrap();
    let input = engine.put_input(&png).unwrap();
    assert_eq!((input.width, input.height), (64, 64));
    assert_eq!(engine.input(&input.sha256).unwrap(), png);
    assert!(engine.put_input(b"no image").is_err());
    let init = Init { strength: 0.3, ..Init::new(InputImage::from_bytes(&png).unwrap()) };
    let order = Order { request: Request { init: Some(init), ..order(6).request }, ..order(6) };
    let job = submit(&engine, order).unwrap();
    let done = wait(&engine, &job, is_over);
    assert_eq!(done.state, State::Succeeded, "{:?}", done.error);
    let (_, bytes) = engine.result(&done, 0).unwrap();
    let made = metadata::read(&bytes).unwrap().metadata;
    assert_eq!(made.request.init.unwrap().picture.reference().sha256, input.sha256);
}

/// A processor that is lost, as a card can be.
#[derive(Clone)]
struct Losable {
    cpu: CpuDevice,
    is_lost: Arc<AtomicBool>,
}

impl Device for Losable {
    type Backend = <CpuDevice as Device>::Backend;

    fn name(&self) -> String {
        "losable".to_owned()
    }

    fn backend(&self, options: BackendOptions) -> calotype_tensor::Result<Self::Backend> {
        match self.is_lost.load(Ordering::Relaxed) {
            true => {
                Err(calotype_tensor::Error::Device { device: self.name(), message: "the device was lost".to_owned() })
            }
            false => self.cpu.backend(options),
        }
    }

    fn with_cancel(backend: &Self::Backend, cancel: CancelToken) -> Self::Backend {
        CpuDevice::with_cancel(backend, cancel)
    }

    fn fastest_precision(&self) -> Precision {
        self.cpu.fastest_precision()
    }

    fn threads(&self) -> &Threads {
        self.cpu.threads()
    }
}

/// The job is made on the processor all the same, or fails, as the card was asked for; the next ones too.
#[test]
fn a_card_that_is_lost_is_stood_in_for_if_that_is_wanted() {
    for falls_back in [true, false] {
        let folder = TempDir::new().unwrap();
        let is_lost = Arc::new(AtomicBool::new(false));
        let device = Losable { cpu: CpuDevice::new(CpuDeviceOptions::default()).unwrap(), is_lost: is_lost.clone() };
        let make = move |model, options| Pipeline::new(device.clone(), model, options);
        let card = Some(Card::new(make, falls_back));
        let engine = Engine::open(EngineOptions { card, ..options(folder.path()) }, |_| {}).unwrap();
        assert_eq!(engine.device_name().unwrap(), "losable");
        let jobs = [submit(&engine, order(2)).unwrap(), submit(&engine, order(2)).unwrap()];
        is_lost.store(true, Ordering::Relaxed);
        engine.start().unwrap();
        for job in &jobs {
            let done = wait(&engine, job, is_over);
            let error = done.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
            match falls_back {
                true => assert_eq!((done.state, done.results.len()), (State::Succeeded, 1), "{error}"),
                false => assert!(done.state == State::Failed && error.contains("log"), "{error}"),
            }
        }
        assert_eq!(engine.device_name().unwrap().starts_with("cpu"), falls_back);
        assert!(engine.drain(Duration::from_secs(20)));
    }
}
