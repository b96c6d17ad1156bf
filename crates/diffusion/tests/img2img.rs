//! Runs that start in the middle against diffusers' img2img pipeline (`goldens/img2img.txt`, by `reference/img2img.py`).

mod common;

use calotype_diffusion::{
    BatchNoise, Error, Latents, ModelDenoiser, PredictionType, SampleOptions, Sampler, SamplerKind, ScheduleKind,
    StrengthRule,
};
use common::{Network, distance, parse_bits, pixel, sd1};

const GOLDENS: &str = include_str!("goldens/img2img.txt");
const SHAPE: [usize; 4] = [1, 4, 3, 5];

fn sampler(kind: SamplerKind, steps: usize) -> Sampler {
    Sampler::new(kind, ScheduleKind::Default, &sd1(), SampleOptions::new(steps)).expect("valid")
}

#[test]
fn equals_diffusers() {
    let init: Vec<f32> = (0..60).map(|i| (f64::from(i) * 0.37).sin() as f32).collect();
    let init = Latents::from_nchw(SHAPE, &init).expect("shape");
    let mut cases = 0;
    for line in GOLDENS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, schedule, steps, strength, count, first, hex] = fields[..] else {
            panic!("bad golden line: {line}")
        };
        let options = SampleOptions::new(steps.parse().expect("a count"));
        let (kind, schedule) = (kind.parse().expect("a sampler"), schedule.parse().expect("a schedule"));
        let whole = Sampler::new(kind, schedule, &sd1(), options).expect("valid");
        let strength = strength.parse().expect("a number");
        let sampler = whole.img2img(strength, StrengthRule::Diffusers).expect("valid");
        assert_eq!(sampler.steps(), count.parse::<usize>().expect("a count"), "{line}");
        let timestep = [sampler.levels()[0].timestep as f32];
        assert!(timestep == [0.0] || distance(&timestep, &parse_bits(first)) < 1e-6, "{timestep:?}: {line}");

        let mut noise = BatchNoise::new(20260, 1, [3, 5, 4]);
        let start = noise.randn();
        let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
        let run = sampler.run_from(denoiser, &init, &start, noise).expect("one length");
        let last = run.last().expect("a step").expect("no error");
        assert_eq!((last.index + 1, last.total), (sampler.steps(), sampler.steps()));
        let error = distance(&last.latents.to_nchw(), &parse_bits(hex));
        assert!(error < 1e-5, "{kind} {schedule} {steps} steps at {strength}: {error:.1e} from diffusers");
        cases += 1;
    }
    assert!(cases >= 40, "only {cases} cases in the golden file");
}

/// `sigmas[steps − t_enc − 1:]` with `t_enc = int(min(strength, 0.999) · steps)`.
#[test]
fn a1111_counts_one_step_more() {
    let whole = sampler(SamplerKind::Euler, 20);
    for (strength, steps) in [(0.0, 1), (0.04, 1), (0.05, 2), (0.5, 11), (0.75, 16), (0.99, 20), (1.0, 20)] {
        let part = whole.img2img(strength, StrengthRule::A1111).expect("valid");
        assert_eq!(part.steps(), steps, "strength {strength}");
        assert_eq!(part.levels(), &whole.levels()[20 - steps..]);
        assert_eq!(part.noised_level(), part.levels()[0]);
    }
}

/// CompVis' `stochastic_encode` to `ddim_alphas[t_enc]` and `decode` of `t_enc` steps, none of them too.
#[test]
fn compvis_mixes_noise_one_level_before_its_first_step() {
    let (init, noise) = ([0.5f32, -1.0, 2.0, 0.0], [1.0f32, 0.25, -0.5, 2.0]);
    let alphas = sd1().alphas_cumprod().to_vec();
    for (steps, strength, t_enc, noised_at) in [
        (10, 0.75, 7, 701),
        (10, 0.999, 9, 901),
        (10, 0.01, 0, 1),
        (10, 0.0, 0, 1),
        (30, 1.0, 30, 991),
        (10, 1.0, 10, 901),
    ] {
        let kind = SamplerKind::Ddim;
        let whole = Sampler::new(kind, ScheduleKind::Compvis, &sd1(), SampleOptions::new(steps)).expect("valid");
        let part = whole.img2img(strength, StrengthRule::Compvis).expect("valid");
        assert_eq!(
            (part.steps(), part.noised_level().timestep),
            (t_enc, f64::from(noised_at)),
            "{steps} at {strength}"
        );
        let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
        let run = part
            .run_from(denoiser, &pixel(&init), &pixel(&noise), BatchNoise::new(0, 1, [1, 1, 4]))
            .expect("one length");
        let alpha = f64::from(alphas[noised_at as usize]);
        let mixed = |i: usize| (alpha.sqrt() * f64::from(init[i]) + (1.0 - alpha).sqrt() * f64::from(noise[i])) as f32;
        assert!(distance(run.latents().data(), &[0, 1, 2, 3].map(mixed)) < 1e-6, "{steps} at {strength}");
        assert_eq!(run.count(), t_enc);
    }
}

/// A1111's `setup_img2img_steps` of the hires fix: all of the steps are taken, the last of `int(steps / min(strength, 0.999))`.
#[test]
fn a_second_pass_takes_all_of_its_steps() {
    let exact = |kind, schedule, steps, strength| {
        Sampler::exact_img2img(kind, schedule, &sd1(), SampleOptions::new(steps), strength)
    };
    for (steps, strength, laid_out) in [(20, 0.7, 28), (15, 0.5, 30), (1, 0.3, 3), (20, 1.0, 20), (7, 0.999, 7)] {
        let part = exact(SamplerKind::Euler, ScheduleKind::Karras, steps, strength).expect("valid");
        let whole = Sampler::new(SamplerKind::Euler, ScheduleKind::Karras, &sd1(), SampleOptions::new(laid_out));
        let whole = whole.expect("valid");
        assert_eq!(part.steps(), steps, "strength {strength}");
        assert_eq!(part.levels(), &whole.levels()[laid_out - steps..]);
    }
    // timesteps[:19] of 28, with the noise of timesteps[19].
    let ddim = exact(SamplerKind::Ddim, ScheduleKind::Automatic, 20, 0.7).expect("valid");
    assert_eq!((ddim.steps(), ddim.noised_level().timestep, ddim.levels()[0].timestep), (18, 666.0, 631.0));
    for strength in [-1.0, 1.01, f64::NAN] {
        let error = exact(SamplerKind::Euler, ScheduleKind::Karras, 20, strength).expect_err("out of range");
        assert!(matches!(error, Error::Strength(_)), "{error}");
    }
    assert!(matches!(exact(SamplerKind::Euler, ScheduleKind::Karras, 20, 0.0), Err(Error::NoSteps { .. })));
    let error = exact(SamplerKind::Euler, ScheduleKind::Karras, 600, 0.5).expect_err("too many").to_string();
    assert!(error.contains("600 steps at strength 0.5 are the last of 1200") && !error.contains('\n'), "{error}");
    assert!(matches!(exact(SamplerKind::Euler, ScheduleKind::Karras, 0, 0.5), Err(Error::Steps { steps: 0, .. })));
}

#[test]
fn bad_strengths_are_refused_with_one_line() {
    let whole = sampler(SamplerKind::Ddim, 20);
    for strength in [-0.1, 1.01, f64::NAN, f64::INFINITY] {
        let error = whole.img2img(strength, StrengthRule::Diffusers).expect_err("out of range");
        assert!(matches!(error, Error::Strength(_)), "{error}");
    }
    let error = whole.img2img(0.04, StrengthRule::Diffusers).expect_err("no step").to_string();
    assert_eq!(error, "strength 0.04 leaves none of 20 steps: give a strength of 0.05 or more, or more steps");
    let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
    let run = whole.run_from(denoiser, &pixel(&[0.0; 4]), &pixel(&[0.0; 3]), BatchNoise::new(0, 1, [1, 1, 4]));
    assert!(matches!(run.map(drop), Err(Error::Shape { got: [1, 1, 1, 3], expected: [1, 1, 1, 4], .. })));
}
