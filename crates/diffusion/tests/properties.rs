//! What holds for every sampler, whatever the model.

mod common;

use calotype_diffusion::{
    BatchNoise, Context, Denoiser, Error, Generator, Latents, Levels, ModelDenoiser, NoiseLevel, NoiseSchedule,
    NoiseSource, PredictionType, Predictor, Run, SampleOptions, Sampler, SamplerKind, ScheduleKind, Solver, guide,
};
use common::{pixel, sd1};
use proptest::prelude::*;

/// The samplers that diffusers has schedules for, with these. (`tests/a1111.rs` has all.)
fn combinations() -> impl Iterator<Item = (SamplerKind, ScheduleKind)> {
    use SamplerKind::{Ddim, Dpmpp2m, Euler, EulerA, Heun, Lms, Plms};
    let kinds = [Ddim, Plms, Euler, EulerA, Heun, Lms, Dpmpp2m];
    let schedules = [ScheduleKind::Default, ScheduleKind::Karras];
    let all = kinds.into_iter().flat_map(move |kind| schedules.map(|schedule| (kind, schedule)));
    all.filter(|(kind, schedule)| kind.info().has_sigma_schedules() || *schedule == ScheduleKind::Default)
}

/// Knows the truth at every level.
struct Oracle(Vec<f32>);

impl Denoiser for Oracle {
    type Error = Error;

    fn denoise(&mut self, x: &Latents, _level: NoiseLevel) -> Result<Latents, Error> {
        Ok(x.with_data(self.0.clone()).unwrap_or_else(|_| pixel(&self.0)))
    }
}

#[test]
fn levels_fall_to_the_end() {
    let noise_schedule = sd1();
    let (min, max) = (noise_schedule.sigmas()[0], noise_schedule.sigmas()[999]);
    for (kind, schedule) in combinations() {
        for steps in [1, 2, 3, 7, 20, 50, 500, 999] {
            let sampler = Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)).expect("valid");
            let levels = sampler.levels();
            assert_eq!(levels.len(), steps + 1);
            assert!(levels.windows(2).all(|pair| pair[0].sigma > pair[1].sigma), "{kind} {schedule} {steps}");
            assert!(levels.windows(2).all(|pair| pair[0].timestep >= pair[1].timestep), "{kind} {schedule} {steps}");
            let last = levels[steps];
            match kind {
                SamplerKind::Ddim | SamplerKind::Plms => assert_eq!(last.sigma as f32, min),
                _ => assert_eq!(last, NoiseLevel::CLEAN),
            }
            if schedule == ScheduleKind::Karras && steps > 1 {
                assert!((levels[0].sigma as f32 / max - 1.0).abs() < 1e-6, "{kind} starts at {}", levels[0].sigma);
                assert!((levels[steps - 1].sigma as f32 / min - 1.0).abs() < 1e-6, "{kind} {steps}");
                assert_eq!((levels[0].timestep.round(), levels[steps - 1].timestep.round()), (999.0, 0.0));
            }
        }
    }
}

#[test]
fn the_truth_is_found() {
    let truth: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
    let noise_schedule = sd1();
    for (kind, schedule) in combinations() {
        for steps in [1, 2, 3, 4, 5, 20, 50, kind.max_steps(&noise_schedule)] {
            let sampler = Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)).expect("valid");
            let mut noise = BatchNoise::new(3, 1, [2, 3, 4]);
            let start = noise.randn();
            let run: Result<Vec<_>, Error> = sampler.run(Oracle(truth.clone()), &start, noise).collect();
            let run = run.expect("no error");
            assert_eq!(run.len(), steps);
            assert!(run.iter().enumerate().all(|(i, step)| step.index == i && step.total == steps));
            let last = run.last().expect("a step");
            assert_eq!(last.sigma, sampler.levels()[steps].sigma);
            // The distance from the truth shrinks as sigma does; what is left then is rounding.
            let left = 8.0 * sampler.init_noise_sigma() * last.sigma / sampler.levels()[0].sigma + 1e-4;
            let worst =
                truth.iter().zip(last.latents.data()).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            // Karras LMS magnifies rounding in long runs (see reference/samplers.py).
            if (kind, schedule, steps) != (SamplerKind::Lms, ScheduleKind::Karras, 1000) {
                assert!(worst < left, "{kind} {schedule} {steps}: {worst:e}");
            }
        }
    }
}

#[test]
fn a_picture_is_the_same_in_any_batch() {
    let noise_schedule = sd1();
    let options = SampleOptions::new(4);
    for (kind, options) in [(SamplerKind::EulerA, options), (SamplerKind::Ddim, options.eta(0.7))] {
        let sampler = Sampler::new(kind, ScheduleKind::Default, &noise_schedule, options).expect("valid");
        let run = |seed: u64, batch: usize| {
            let mut noise = BatchNoise::new(seed, batch, [3, 5, 4]);
            let start = noise.randn();
            let denoiser = Oracle(vec![0.25; start.data().len()]);
            sampler.run(denoiser, &start, &mut noise).last().expect("a step").expect("no error").latents
        };
        assert_eq!(Ok(run(7, 3)), Latents::concat(&[run(7, 1), run(8, 1), run(9, 1)]), "{kind}");
    }
}

#[test]
fn all_predictions_give_the_same_denoised_sample() {
    struct Fixed(Vec<f32>);
    impl Predictor for Fixed {
        type Error = Error;

        fn predict(&mut self, x: &Latents, _timestep: f64) -> Result<Latents, Error> {
            x.with_data(self.0.clone())
        }
    }
    let noise_schedule = sd1();
    let (x0, noise) = (Generator::manual_seed(1).randn(64), Generator::manual_seed(2).randn(64));
    for t in [0, 400, 999] {
        let level = NoiseLevel { sigma: f64::from(noise_schedule.sigmas()[t]), timestep: t as f64 };
        let x: Vec<f32> = x0.iter().zip(&noise).map(|(&x0, &e)| x0 + level.sigma as f32 * e).collect();
        let noisy = noise_schedule.add_noise(&x0, &noise, t).expect("same length");
        let v = noise_schedule.velocity(&x0, &noise, t).expect("same length");
        let predictions = [
            (noise.clone(), PredictionType::Epsilon),
            (v, PredictionType::VPrediction),
            (x0.clone(), PredictionType::Sample),
        ];
        for (prediction, kind) in predictions {
            let denoised = ModelDenoiser::new(Fixed(prediction), kind).denoise(&pixel(&x), level).expect("no error");
            assert!(denoised.data().iter().zip(&x0).all(|(a, b)| (a - b).abs() < 1e-4), "{kind:?} at {t}");
        }
        let scaled = x.iter().map(|&x| x / level.scale() as f32);
        assert!(scaled.zip(&noisy).all(|(a, b)| (a - b).abs() < 1e-5), "at {t}");
    }
    assert_eq!(noise_schedule.add_noise(&x0, &noise, 1000), Err(Error::Timestep { timestep: 1000, last: 999 }));
}

#[test]
fn wrong_combinations_say_what_to_do() {
    let noise_schedule = sd1();
    let error = |kind, schedule, options| {
        Sampler::new(kind, schedule, &noise_schedule, options).expect_err("refused").to_string()
    };
    let (ddim, euler) = (SamplerKind::Ddim, SamplerKind::Euler);
    let ten = SampleOptions::new(10);
    let messages = [
        error(ddim, ScheduleKind::Karras, ten),
        error(SamplerKind::Plms, ScheduleKind::Karras, ten),
        error(euler, ScheduleKind::Default, ten.eta(0.5)),
        error(ddim, ScheduleKind::Default, ten.eta(f64::NAN)),
        error(ddim, ScheduleKind::Default, ten.eta(-0.1)),
        error(ddim, ScheduleKind::Default, SampleOptions::new(1000)),
        error(euler, ScheduleKind::Default, SampleOptions::new(0)),
        error(euler, ScheduleKind::Default, SampleOptions::new(1001)),
        "oiler".parse::<SamplerKind>().expect_err("no such name").to_string(),
        "carras".parse::<ScheduleKind>().expect_err("no such name").to_string(),
        "flow".parse::<PredictionType>().expect_err("not for us").to_string(),
        NoiseSchedule::linear(0.5, 0.9, 1000).expect_err("no signal left").to_string(),
        NoiseSchedule::linear(f64::NAN, 0.9, 1000).expect_err("no number").to_string(),
        NoiseSchedule::scaled_linear(0.1, 0.05, 1000).expect_err("falling").to_string(),
        NoiseSchedule::scaled_linear(0.1, 0.2, 1).expect_err("too short").to_string(),
        guide(&[1.0], &[1.0, 2.0], 2.0).expect_err("two lengths").to_string(),
    ];
    for message in &messages {
        assert!(!message.contains('\n') && message.len() < 300, "{message}");
        assert!(message.contains(':') || message.contains(';'), "{message}");
    }
    assert_eq!(messages[5], "1000 steps are out of range for sampler ddim: give 1 to 999");
    for kind in SamplerKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for kind in ScheduleKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
}

/// Whatever a server moves to another thread, a run under way included.
#[test]
fn everything_can_be_sent() {
    fn assert_send<T: Send>() {}
    assert_send::<Sampler>();
    assert_send::<Latents>();
    assert_send::<BatchNoise>();
    assert_send::<Run<'static, ModelDenoiser<common::Network>, BatchNoise>>();
    assert_send::<Run<'static, &mut (dyn Denoiser<Error = Error> + Send), &mut (dyn NoiseSource + Send)>>();
}

#[test]
fn errors_end_a_run() {
    let sampler = Sampler::new(SamplerKind::EulerA, ScheduleKind::Default, &sd1(), SampleOptions::new(5));
    let sampler = sampler.expect("valid");
    // A denoiser of the wrong length, then noise of the wrong length.
    let mut run = sampler.run(Oracle(vec![0.0; 3]), &pixel(&[0.0; 4]), BatchNoise::new(0, 1, [1, 1, 4]));
    assert!(matches!(run.next(), Some(Err(Error::Shape { got: [1, 1, 1, 3], expected: [1, 1, 1, 4], .. }))));
    assert!(run.next().is_none());
    let mut run = sampler.run(Oracle(vec![0.0; 4]), &pixel(&[0.0; 4]), BatchNoise::new(0, 1, [1, 1, 5]));
    assert!(matches!(run.next(), Some(Err(Error::Shape { got: [1, 1, 1, 5], expected: [1, 1, 1, 4], .. }))));
    assert!(run.next().is_none());
}

/// A caller's own steps run over a sampler's levels: Euler's here, as the sampler has them.
#[test]
fn a_solver_of_ones_own_runs() {
    struct Own;
    impl<E: From<Error>> Solver<E> for Own {
        fn step(&mut self, x: &Latents, levels: Levels, ctx: &mut Context<'_, E>) -> Result<Latents, E> {
            let d = ctx.derivative(x, levels.from)?;
            Ok(Latents::sum([(1.0, x), (levels.to.sigma - levels.from.sigma, &d)]))
        }
    }
    let sampler = Sampler::new(SamplerKind::Euler, ScheduleKind::Karras, &sd1(), SampleOptions::new(7)).expect("valid");
    let start = pixel(&[0.5, -1.0, 2.0]);
    let run = || {
        let denoiser = ModelDenoiser::new(common::Network, PredictionType::Epsilon);
        sampler.run(denoiser, &start, BatchNoise::new(0, 1, [1, 1, 3]))
    };
    let steps = |run: Run<'_, _, _>| run.collect::<Result<Vec<_>, Error>>().expect("no error");
    assert_eq!(steps(run().with_solver(Own)), steps(run()));
}

/// Latents may be changed between steps, and not made others.
#[test]
fn latents_are_changed_between_steps() {
    let sampler = Sampler::new(SamplerKind::Euler, ScheduleKind::Karras, &sd1(), SampleOptions::new(4)).expect("valid");
    let denoiser = || ModelDenoiser::new(common::Network, PredictionType::Epsilon);
    let (start, half) = (pixel(&[0.5, -1.0, 2.0]), pixel(&[0.25, -0.5, 1.0]));
    let noise = || BatchNoise::new(0, 1, [1, 1, 3]);
    let mut run = sampler.run(denoiser(), &start, noise());
    run.latents_mut().data_mut().iter_mut().for_each(|x| *x *= 0.5);
    assert_eq!(run.sigma(), sampler.levels()[0].sigma);
    let changed = run.last().expect("a step").expect("no error");
    assert_eq!(changed, sampler.run(denoiser(), &half, noise()).last().expect("a step").expect("no error"));
    let mut run = sampler.run(denoiser(), &start, noise());
    *run.latents_mut() = pixel(&[0.5]);
    assert!(matches!(run.next(), Some(Err(Error::Shape { got: [1, 1, 1, 1], expected: [1, 1, 1, 3], .. }))));
    assert!(run.next().is_none());
}

#[test]
fn guidance_is_linear_in_its_scale() {
    let (uncond, cond) = ([1.0, -2.0], [3.0, 0.5]);
    assert_eq!(guide(&uncond, &cond, 0.0).as_deref(), Ok(uncond.as_slice()));
    assert_eq!(guide(&uncond, &cond, 1.0).as_deref(), Ok(cond.as_slice()));
    assert_eq!(guide(&uncond, &cond, 7.5).as_deref(), Ok([16.0, 16.75].as_slice()));
}

proptest! {
    #[test]
    fn sigmas_and_timesteps_are_inverse(t in 0.0f64..999.0) {
        let noise_schedule = sd1();
        let back = noise_schedule.sigma_to_t(noise_schedule.t_to_sigma(t));
        prop_assert!((back - t).abs() < 1e-3, "{t} came back as {back}");
    }

    #[test]
    fn any_noise_schedule_is_refused_or_samples(start in 0.0f64..1.2, end in 0.0f64..1.2, train in 0usize..60, steps in 0usize..70) {
        if let Ok(noise_schedule) = NoiseSchedule::scaled_linear(start, end, train) {
            for (kind, schedule) in combinations() {
                if let Ok(sampler) = Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)) {
                    let sigmas_fall = sampler.levels().windows(2).all(|pair| pair[0].sigma >= pair[1].sigma);
                    prop_assert!(sigmas_fall, "{kind} {schedule}");
                    let last = sampler.run(Oracle(vec![0.5]), &pixel(&[1.0]), BatchNoise::new(0, 1, [1, 1, 1])).last();
                    let latents = last.expect("a step").expect("no error").latents;
                    prop_assert!(latents.is_finite(), "{kind} {schedule}: {latents:?}");
                }
            }
        }
    }

    #[test]
    fn a_stored_generator_goes_on(seed: u64, calls in proptest::collection::vec(0usize..40, 0..8)) {
        let mut generator = Generator::manual_seed(seed);
        for n in calls {
            let _ = generator.randn(n);
        }
        let mut restored = Generator::from_bytes(&generator.to_bytes()).expect("our own state");
        prop_assert_eq!(&restored, &generator);
        prop_assert_eq!(restored.randn(700), generator.randn(700));
        prop_assert_eq!(restored.randn(3), generator.randn(3));
    }

    #[test]
    fn damaged_generator_states_never_panic(cut in 0usize..2600, at in 0usize..2525, byte: u8) {
        let state = Generator::manual_seed(5).to_bytes();
        if cut != state.len() {
            prop_assert!(Generator::from_bytes(&state[..cut.min(state.len() - 1)]).is_err());
        }
        let mut state = state;
        if let Some(slot) = state.get_mut(at) {
            *slot = byte;
        }
        if let Ok(mut generator) = Generator::from_bytes(&state) {
            prop_assert!(generator.randn(20).iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn layouts_come_back(b in 0usize..3, c in 0usize..5, h in 0usize..4, w in 0usize..4) {
        let shape = [b, c, h, w];
        let x: Vec<f32> = (0..b * c * h * w).map(|i| i as f32).collect();
        let latents = Latents::from_nchw(shape, &x).expect("the length");
        prop_assert_eq!((latents.shape(), latents.shape_nchw()), ([b, h, w, c], shape));
        for (i, &value) in latents.data().iter().enumerate() {
            let (channel, pixel) = (i % c, i / c);
            let expected = (pixel / (h * w) * c + channel) * h * w + pixel % (h * w);
            prop_assert_eq!(value, expected as f32);
        }
        prop_assert_eq!(latents.to_nchw(), x.clone());
        for wrong in [[b, c, h, w + usize::MAX / 2], [b + 1, c, h, w]] {
            let all = wrong.into_iter().try_fold(1usize, |n, side| n.checked_mul(side));
            if all != Some(x.len()) {
                prop_assert!(Latents::from_nchw(wrong, &x).is_err() && Latents::new(wrong, x.clone()).is_err());
            }
        }
        // Cut and joined again.
        let images: Vec<_> = (0..b).filter_map(|k| latents.slice(k, 1)).collect();
        if b > 0 {
            prop_assert!(latents.slice(0, b + 1).is_none() && latents.slice(b, 1).is_none());
            prop_assert_eq!(Latents::concat(&images), Ok(latents));
        }
    }
}
