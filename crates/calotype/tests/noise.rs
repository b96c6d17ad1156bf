//! Every way to draw noise: a picture is made again, alone, from what its file says.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use calotype::{
    Keep, Latents, Metadata, Model, NoiseRequest, OneOf, Pipeline, PipelineOptions, Plan, Precision, Request, Rng,
    SeedPer, Variation,
};
use common::{Sizes, model};

fn ways() -> Vec<NoiseRequest> {
    let base = NoiseRequest { batch_index: 1, ..NoiseRequest::default() };
    let variation = Some(Variation { seed: 7, strength: 0.3 });
    let of_a_picture = [
        base.clone(),
        NoiseRequest { rng: Rng::Cuda, ..base.clone() },
        NoiseRequest { rng: Rng::Nv, eta_noise_seed_delta: 31337, ..base.clone() },
        NoiseRequest { variation, ..base.clone() },
        NoiseRequest { variation, seed_resize: Some([40, 24]), eta_noise_seed_delta: -1, ..base.clone() },
        NoiseRequest { fixed_code: true, ..base.clone() },
        NoiseRequest { fixed_code: true, variation, ..base.clone() },
    ];
    let of_a_batch = [base.clone(), NoiseRequest { rng: Rng::Nv, fixed_code: true, ..base }]
        .map(|noise| NoiseRequest { seed_per: SeedPer::Batch, ..noise });
    [&of_a_picture[..], &of_a_batch].concat()
}

fn load(model: &Model) -> Pipeline<'_> {
    Pipeline::load(model, PipelineOptions { keep: Keep::All, threads: 1, ..Default::default() }).unwrap()
}

fn latents(pipeline: &Pipeline<'_>, request: &Request) -> Latents {
    pipeline.run(request).unwrap().finish_latents().unwrap()
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
                noise: noise.clone(),
                ..Request::default()
            };
            let made = latents(&pipeline, &request);
            assert!(!seen.contains(&made), "{noise:?} is no other");
            for k in 0..2 {
                let plan = Plan::new(&model, &request, PipelineOptions::default()).unwrap();
                let metadata = Metadata::new(&model, &request, &plan, Precision::F32, k).unwrap();
                let again = if k == 0 {
                    Metadata::from_json(&metadata.to_json()).unwrap()
                } else {
                    let text = Metadata::from_parameters(&metadata.parameters());
                    assert_eq!(text.unread, []);
                    text.metadata
                };
                let again = again.request().unwrap();
                assert_eq!(Some(latents(&pipeline, &again)), made.slice(k, 1), "{sampler} {k} {noise:?}");
                // And its file says the same.
                let plan = Plan::new(&model, &again, PipelineOptions::default()).unwrap();
                assert_eq!(Metadata::new(&model, &again, &plan, Precision::F32, 0).unwrap(), metadata);
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
        let noise = NoiseRequest { seed_per: SeedPer::Batch, batch_index: 2, ..NoiseRequest::default() };
        let request = Request {
            num_inference_steps: 4,
            sampler: sampler.parse().unwrap(),
            schedule: "compvis".parse().unwrap(),
            batch_size: 3,
            noise,
            ..Request::default()
        };
        let mut stream = calotype_diffusion::Generator::manual_seed(42);
        (0..2 * draws).for_each(|_| stream.skip_randn(3 * 256));
        let start = Latents::from_nchw([3, 4, 8, 8], &stream.randn(3 * 256)).unwrap();
        let given = Request { latents: Some(start), noise: NoiseRequest::default(), ..request.clone() };
        assert_eq!(latents(&pipeline, &request), latents(&pipeline, &given), "{sampler}");
    }
}

/// Where the noise is given, a stream for all batches is only drawn from in the steps.
#[test]
fn batches_of_one_stream_from_given_noise() {
    let (_folder, model) = model(&Sizes::default());
    let pipeline = load(&model);
    let given = Latents::from_nchw([1, 4, 8, 8], &calotype_diffusion::Generator::manual_seed(9).randn(256)).unwrap();
    let request = |eta, noise: NoiseRequest, latents| Request {
        num_inference_steps: 4,
        schedule: "compvis".parse().unwrap(),
        eta: Some(eta),
        noise: NoiseRequest { seed_per: SeedPer::Batch, ..noise },
        latents,
        ..Request::default()
    };
    let noise = |batch_index, fixed_code| NoiseRequest { batch_index, fixed_code, ..NoiseRequest::default() };
    let run = |eta, noise, latents| self::latents(&pipeline, &request(eta, noise, latents));
    // A fixed start is drawn before all else, so what follows is one draw later.
    let mut stream = calotype_diffusion::Generator::manual_seed(42);
    let start = Latents::from_nchw([1, 4, 8, 8], &stream.randn(256)).unwrap();
    assert_eq!(run(0.0, noise(1, true), None), run(0.0, noise(1, false), Some(start.clone())));
    assert_ne!(run(0.8, noise(1, true), None), run(0.8, noise(1, false), Some(start)));
    // Batches differ in their steps' noise alone, and a fixed start beside a given one is none.
    let [first, second] = [0, 1].map(|batch| run(0.8, noise(batch, false), Some(given.clone())));
    assert_ne!(first, second);
    assert_eq!(second, run(0.8, noise(1, true), Some(given.clone())));
    assert_eq!(run(0.0, noise(0, false), Some(given.clone())), run(0.0, noise(5, false), Some(given)));
}

#[test]
fn wrong_noise_is_refused_before_the_work() {
    let (_folder, model) = model(&Sizes::default());
    let refused = |noise: NoiseRequest, expected: &str| {
        let request = Request { noise, ..Request::default() };
        let error = Plan::new(&model, &request, PipelineOptions::default()).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    let variation = Some(Variation { seed: 1, strength: 2.0 });
    let noise = NoiseRequest::default();
    refused(NoiseRequest { variation, ..noise.clone() }, "the variation strength is 2: give a number from 0 to 1");
    let huge = NoiseRequest { seed_resize: Some([usize::MAX, 64]), ..noise.clone() };
    refused(huge, &format!("the seed is resized from {} x 64 pixels: give at most 16384 x 16384", usize::MAX));
    let small = NoiseRequest { seed_resize: Some([2, 64]), ..noise.clone() };
    refused(small, "the size that the seed is resized from has no latents: give at least 8 x 8 pixels");
    let per_batch = NoiseRequest { seed_per: SeedPer::Batch, eta_noise_seed_delta: 1, ..noise.clone() };
    refused(per_batch, "one seed per batch has no eta noise seed delta: leave it away, or use one seed per picture");
    let endless = Some(OneOf { batch_size: usize::MAX, position: 2 });
    let message = format!("batch size {} is out of range: give 1 to 1024", usize::MAX);
    refused(NoiseRequest { one_of: endless, ..noise.clone() }, &message);
    let one_of = Some(OneOf { batch_size: 2, position: 2 });
    refused(
        NoiseRequest { one_of, ..noise },
        "picture 2 of a batch of 2 in a batch of 1: make it alone, and count from 0",
    );
}
