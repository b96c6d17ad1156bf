//! Every way to draw noise: a picture is made again, alone, from what its file says.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::{
    Keep, Latents, Model, Pipeline, PipelineOptions, Plan, Precision, Request,
    metadata::Metadata,
    request::{BatchPlace, OneOf},
    sampling::{Rng, SeedPer},
};
use std::sync::Arc;

use crate::common::{Sizes, model};

fn ways() -> Vec<Request> {
    let base = Request::default();
    let variation = || Request { variation_seed: Some(7), variation_strength: 0.3, ..Request::default() };
    let of_a_picture = [
        base.clone(),
        Request { rng: Rng::Cuda, ..base.clone() },
        Request { rng: Rng::Nv, eta_noise_seed_delta: 31337, ..base.clone() },
        variation(),
        Request { seed_resize: Some([40, 24]), eta_noise_seed_delta: -1, ..variation() },
        Request { fixed_code: true, ..base.clone() },
        Request { fixed_code: true, ..variation() },
    ];
    let of_a_batch = [base.clone(), Request { rng: Rng::Nv, fixed_code: true, ..base }]
        .map(|noise| Request { seed_per: SeedPer::Batch, ..noise });
    [&of_a_picture[..], &of_a_batch].concat()
}

fn load(model: &Arc<Model>) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap()
}

/// The plan of a batch that so many came before.
fn plan(pipeline: &Pipeline, request: &Request, index: usize) -> Plan {
    pipeline.plan(request.clone()).unwrap().at(BatchPlace { index, one_of: None }).unwrap()
}

fn latents(pipeline: &Pipeline, plan: Plan) -> Latents {
    pipeline.run(plan).unwrap().finish_latents().unwrap()
}

#[test]
fn pictures_are_made_again_from_their_files() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let mut seen: Vec<Latents> = Vec::new();
    for noise in ways() {
        let samplers = [("ddim", "compvis", 0.5), ("plms", "compvis", 0.0)];
        for (sampler, schedule, eta) in samplers.into_iter().take(if noise.seed_per == SeedPer::Batch { 2 } else { 1 })
        {
            let request = Request {
                prompt: "a tree".into(),
                num_inference_steps: 2,
                sampler: sampler.parse().unwrap(),
                schedule: schedule.parse().unwrap(),
                eta: (eta > 0.0).then_some(eta),
                batch_size: 2,
                ..noise.clone()
            };
            let first = plan(&pipeline, &request, 1);
            let made = latents(&pipeline, first.clone());
            assert!(!seen.contains(&made), "{noise:?} is no other");
            for k in 0..2 {
                let metadata = Metadata::new(&model, &first, Precision::F32, k).unwrap();
                let again = if k == 0 {
                    Metadata::from_json(&metadata.to_json()).unwrap()
                } else {
                    let text = Metadata::from_parameters(&metadata.parameters());
                    assert_eq!(text.unread, []);
                    text.metadata
                };
                let (again, place) = again.request(&[]).unwrap();
                let again = pipeline.plan(again).unwrap().at(place).unwrap();
                assert_eq!(Some(latents(&pipeline, again.clone())), made.slice(k, 1), "{sampler} {k} {noise:?}");
                // And its file says the same.
                assert_eq!(Metadata::new(&model, &again, Precision::F32, 0).unwrap(), metadata);
            }
            seen.push(made);
        }
    }
}

/// Batches that go on in one stream are CompVis' `n_iter`: as one draw after the other from one generator.
#[test]
fn batches_of_one_stream() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let draws = [("ddim", 5), ("plms", 6), ("dpm_solver", 1)];
    for (sampler, draws) in draws {
        let request = Request {
            num_inference_steps: 4,
            sampler: sampler.parse().unwrap(),
            schedule: "compvis".parse().unwrap(),
            batch_size: 3,
            seed_per: SeedPer::Batch,
            ..Request::default()
        };
        let mut stream = calotype_diffusion::Generator::manual_seed(42);
        (0..2 * draws).for_each(|_| stream.skip_randn(3 * 256));
        let start = Latents::from_nchw([3, 4, 8, 8], &stream.randn(3 * 256)).unwrap();
        let given = Request { latents: Some(start.into()), seed_per: SeedPer::Picture, ..request.clone() };
        let [request, given] = [plan(&pipeline, &request, 2), plan(&pipeline, &given, 0)];
        assert_eq!(latents(&pipeline, request), latents(&pipeline, given), "{sampler}");
    }
}

/// Where the noise is given, a stream for all batches is only drawn from in the steps.
#[test]
fn batches_of_one_stream_from_given_noise() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let given = Latents::from_nchw([1, 4, 8, 8], &calotype_diffusion::Generator::manual_seed(9).randn(256)).unwrap();
    let run = |eta, (index, fixed_code), start: Option<Latents>| {
        let request = Request {
            num_inference_steps: 4,
            schedule: "compvis".parse().unwrap(),
            eta: Some(eta),
            seed_per: SeedPer::Batch,
            fixed_code,
            latents: start.map(Into::into),
            ..Request::default()
        };
        latents(&pipeline, plan(&pipeline, &request, index))
    };
    // A fixed start is drawn before all else, so what follows is one draw later.
    let mut stream = calotype_diffusion::Generator::manual_seed(42);
    let start = Latents::from_nchw([1, 4, 8, 8], &stream.randn(256)).unwrap();
    assert_eq!(run(0.0, (1, true), None), run(0.0, (1, false), Some(start.clone())));
    assert_ne!(run(0.8, (1, true), None), run(0.8, (1, false), Some(start)));
    // Batches differ in their steps' noise alone, and a fixed start beside a given one is none.
    let [first, second] = [0, 1].map(|batch| run(0.8, (batch, false), Some(given.clone())));
    assert_ne!(first, second);
    assert_eq!(second, run(0.8, (1, true), Some(given.clone())));
    assert_eq!(run(0.0, (0, false), Some(given.clone())), run(0.0, (5, false), Some(given)));
}

#[test]
fn wrong_noise_is_refused_before_the_work() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let noise = Request::default();
    let refused = |request: Request, expected: &str| {
        let error = pipeline.plan(request).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    let variation = Request { variation_seed: Some(1), variation_strength: 2.0, ..noise.clone() };
    refused(variation, "the variation strength is 2: give a number from 0 to 1");
    let huge = Request { seed_resize: Some([usize::MAX, 64]), ..noise.clone() };
    refused(huge, &format!("the seed is resized from {} x 64 pixels: give at most 16384 x 16384", usize::MAX));
    let small = Request { seed_resize: Some([2, 64]), ..noise.clone() };
    refused(small, "the size that the seed is resized from has no latents: give at least 8 x 8 pixels");
    let per_batch = Request { seed_per: SeedPer::Batch, eta_noise_seed_delta: 1, ..noise.clone() };
    refused(per_batch, "one seed per batch has no eta noise seed delta: leave it away, or use one seed per picture");
    let plan = pipeline.plan(noise).unwrap();
    let refused = |one_of, expected: &str| {
        let place = BatchPlace { one_of: Some(one_of), ..BatchPlace::default() };
        assert_eq!(plan.clone().at(place).unwrap_err().to_string(), expected);
    };
    let message = format!("batch size {} is out of range: give 1 to 1024", usize::MAX);
    refused(OneOf { batch_size: usize::MAX, position: 2 }, &message);
    let one_of = OneOf { batch_size: 2, position: 2 };
    refused(one_of, "picture 2 of a batch of 2 in a batch of 1: make it alone, and count from 0");
}
