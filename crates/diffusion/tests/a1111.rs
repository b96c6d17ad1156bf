//! A1111's samplers and schedules against k-diffusion and A1111 (`goldens/{a1111,schedules}.txt`, written by
//! `reference/k_samplers.py`), and what holds for all of them.

mod common;

use calotype_diffusion::{
    BatchNoise, Denoiser, Error, Latents, ModelDenoiser, NoiseLevel, NoiseSchedule, PredictionType, Predictor,
    SampleOptions, Sampler, SamplerFeature, SamplerKind, SamplerSettings, ScheduleKind, StrengthRule, UniPcVariant,
    guide,
};
use common::{Network, distance, parse_bits, pixel, sd1};
use proptest::prelude::*;

const GOLDENS: &str = include_str!("goldens/a1111.txt");
const BROWNIAN: &str = include_str!("goldens/brownian.txt");
const COMBINATIONS: &str = include_str!("goldens/combinations.txt");
const SCHEDULES: &str = include_str!("goldens/schedules.txt");
const SEED: u64 = 20260;

/// The reference's network, and beside it the unconditional one that `ddim_cfgpp` is tested with; the guided prediction
/// is of guidance scale 7.5.
struct Guided;

impl Predictor for Guided {
    type Error = Error;

    fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents, Error> {
        Network.predict(x, timestep)
    }

    fn predict_with_uncond(&mut self, x: &Latents, timestep: f64) -> Result<[Latents; 2], Error> {
        let uncond = |x: f64| 0.6 * x + 0.2 * (x - timestep / 500.0).cos();
        let uncond = x.map(|x| uncond(f64::from(x)) as f32);
        let scale = SamplerKind::DdimCfgpp.guidance_scale(7.5);
        let guided = guide(uncond.data(), self.predict(x, timestep)?.data(), scale)?;
        Ok([x.with_data(guided)?, uncond])
    }
}

/// `key=value` pairs separated by commas; `-` is none.
fn options(steps: usize, text: &str) -> SampleOptions {
    let mut options = SampleOptions::new(steps);
    for (key, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let settings = &mut options.settings;
        match key {
            "uni_pc_variant" => settings.uni_pc_variant = value.parse().expect("a variant"),
            "uni_pc_skip_type" => settings.uni_pc_skip_type = value.parse().expect("a skip type"),
            "uni_pc_order" => settings.uni_pc_order = value.parse().expect("an order"),
            "uni_pc_lower_order_final" => settings.uni_pc_lower_order_final = value == "True",
            _ => {}
        }
        if key.starts_with("uni_pc_") {
            continue;
        }
        let value: f64 = value.parse().expect("a number");
        match key {
            "eta" => options.eta = Some(value),
            "s_churn" => options.settings.s_churn = value,
            "s_tmin" => options.settings.s_tmin = value,
            "s_tmax" => options.settings.s_tmax = Some(value),
            "s_noise" => options.settings.s_noise = value,
            "rho" => options.settings.rho = Some(value),
            "sigma_min" => options.settings.sigma_min = Some(value),
            "sigma_max" => options.settings.sigma_max = Some(value),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// The latents of a run of the stand-in network, NCHW, and how many steps it had.
fn final_latents(sampler: &Sampler) -> (Vec<f32>, usize) {
    let mut noise = BatchNoise::new(SEED, 1, [2, 2, 4]);
    let start = noise.randn();
    let denoiser = ModelDenoiser::new(Guided, PredictionType::Epsilon);
    let steps: Result<Vec<_>, Error> = sampler.run(denoiser, &start, noise).collect();
    let steps = steps.expect("no error");
    let last = steps.last().expect("a step");
    assert_eq!(last.index + 1, last.total, "{sampler:?}");
    (last.latents.to_nchw(), steps.len())
}

#[test]
fn samplers_equal_k_diffusion_and_a1111() {
    let mut cases = 0;
    for line in GOLDENS.lines().filter(|line| !line.starts_with('#')) {
        let [kind, steps, given, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("bad line: {line}") };
        let kind: SamplerKind = kind.parse().expect("a sampler");
        let count: usize = steps.parse().expect("a count");
        let sampler = Sampler::new(kind, ScheduleKind::Automatic, &sd1(), options(count, given)).expect("valid");
        let (latents, steps) = final_latents(&sampler);
        let expected = if kind.info().has(SamplerFeature::Adaptive) { count } else { sampler.steps() };
        assert_eq!(steps, expected, "{kind} {given}");
        let error = distance(&latents, &parse_bits(hex));
        assert!(error < 1e-5, "{kind} {count} steps, {given}: {error:.1e} from the reference");
        cases += 1;
    }
    assert!(cases > 160, "only {cases} cases in the golden file");
}

/// Samplers with schedules that are not their own, drawn by lot.
#[test]
fn combinations_equal_k_diffusion_and_a1111() {
    let mut cases = 0;
    for line in COMBINATIONS.lines().filter(|line| !line.starts_with('#')) {
        let [kind, schedule, steps, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("bad line: {line}") };
        let options = SampleOptions::new(steps.parse().expect("a count"));
        let (kind, schedule) = (kind.parse().expect("a sampler"), schedule.parse().expect("a schedule"));
        let sampler = Sampler::new(kind, schedule, &sd1(), options).expect("valid");
        let error = distance(&final_latents(&sampler).0, &parse_bits(hex));
        assert!(error < 1e-5, "{kind} {schedule} {steps} steps: {error:.1e} from the reference");
        cases += 1;
    }
    assert_eq!(cases, 80);
}

#[test]
fn schedules_equal_a1111() {
    let mut cases = 0;
    for line in SCHEDULES.lines().filter(|line| !line.starts_with('#')) {
        let [model, schedule, steps, given, count, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("bad line: {line}")
        };
        // A sampler whose levels are those of the schedule and nothing else.
        let kind = if model == "lcm" { SamplerKind::Lcm } else { SamplerKind::DpmppSde };
        let schedule: ScheduleKind = schedule.parse().expect("a schedule");
        let options = options(steps.parse().expect("a count"), given);
        let sampler = Sampler::new(kind, schedule, &sd1(), options).expect("valid");
        let count: usize = count.parse().expect("a count");
        assert_eq!(sampler.levels().len(), count, "{line}");
        let stride = if count <= 21 { 1 } else { 13.max(count / 20) };
        let sigmas: Vec<f32> = sampler.levels().iter().step_by(stride).map(|level| level.sigma as f32).collect();
        let expected = parse_bits(hex);
        assert_eq!(sigmas.len(), expected.len(), "{line}");
        // Bit for bit; the timesteps of LCM are counted in others there, which is a rounding more.
        let tolerance = if model == "lcm" { 1e-6 } else { 0.0 };
        for (sigma, expected) in sigmas.iter().zip(&expected) {
            let near = (sigma - expected).abs() <= tolerance * expected;
            assert!(near, "{model} {schedule} {steps} {given}: {sigma} for {expected}");
        }
        cases += 1;
    }
    assert!(cases > 120, "only {cases} cases in the golden file");
}

/// Whole runs on real Brownian trees. Their noise shows the last digit of a sigma, in which torch's functions of f32 differ
/// from machine to machine; the goldens are of functions that are correctly rounded, and say how far those of the machine
/// they were made on are from that: what is to be expected of any other program.
#[test]
fn sde_samplers_equal_k_diffusion_on_a_brownian_tree() {
    let (mut cases, mut far) = (0, 0);
    for line in BROWNIAN.lines().filter(|line| !line.starts_with('#')) {
        let [kind, schedule, steps, machine, given, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("bad line: {line}")
        };
        let (kind, schedule): (SamplerKind, ScheduleKind) =
            (kind.parse().expect("a sampler"), schedule.parse().expect("a schedule"));
        let options = options(steps.parse().expect("a count"), given);
        let sampler = Sampler::new(kind, schedule, &sd1(), options).expect("valid");
        let [min, max] = sampler.sigma_range();
        let mut noise = BatchNoise::new(SEED, 1, [2, 2, 4]).brownian(min, max);
        let start = noise.randn();
        let denoiser = ModelDenoiser::new(Network, PredictionType::Epsilon);
        let last = sampler.run(denoiser, &start, noise).last().expect("a step").expect("no error");
        let error = distance(&last.latents.to_nchw(), &parse_bits(hex));
        assert!(error < 5e-6, "{kind} {schedule} {steps} steps, {given}: {error:.1e} from the reference");
        if schedule == kind.info().own_schedule {
            assert_eq!(Sampler::new(kind, ScheduleKind::Automatic, &sd1(), options).expect("valid"), sampler);
        }
        far += usize::from(machine.parse::<f64>().expect("a number") > 1e-4);
        cases += 1;
    }
    assert!(cases > 100, "only {cases} cases in the golden file");
    assert!(far <= 2, "{far} cases depend on the machine by more than 1e-4");
}

/// Parts of runs, down to the least.
const STRENGTHS: [(f64, StrengthRule); 9] = [
    (0.0, StrengthRule::A1111),
    (1e-6, StrengthRule::Diffusers),
    (1e-6, StrengthRule::A1111),
    (0.05, StrengthRule::A1111),
    (0.3, StrengthRule::Compvis),
    (0.5, StrengthRule::Diffusers),
    (0.75, StrengthRule::A1111),
    (1.0, StrengthRule::Diffusers),
    (1.0, StrengthRule::A1111),
];

/// Knows the truth at every level.
struct Oracle(Vec<f32>);

impl Denoiser for Oracle {
    type Error = Error;

    fn denoise(&mut self, x: &Latents, _level: NoiseLevel) -> Result<Latents, Error> {
        x.with_data(self.0.clone())
    }
}

#[test]
fn every_sampler_runs_with_every_schedule_and_count_or_says_which_it_takes() {
    /// The best denoiser of pictures whose numbers are normal, of deviation 1/2.
    struct Normal;
    impl Denoiser for Normal {
        type Error = Error;

        fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, Error> {
            let share = 0.25 / (0.25 + level.sigma.powi(2));
            Ok(x.map(|x| (f64::from(x) * share) as f32))
        }
    }
    let noise_schedule = sd1();
    let mut refused = Vec::new();
    for (kind, schedule) in SamplerKind::ALL.into_iter().flat_map(|kind| ScheduleKind::ALL.map(|s| (kind, s))) {
        for steps in [1, 2, 7, 20, 50, 1000] {
            let sampler = match Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)) {
                Ok(sampler) => sampler,
                Err(error) => {
                    let message = error.to_string();
                    assert!(!message.contains('\n'), "{message}");
                    if kind.has_schedule(schedule) {
                        // The counts it names do work.
                        let (_, named) = message.rsplit_once("give ").expect("what to give");
                        let counts = named.split(' ').filter_map(|word| word.parse::<usize>().ok());
                        let taken =
                            |steps| Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)).is_ok();
                        assert!(counts.clone().count() > 0 && counts.clone().all(taken), "{message}");
                    }
                    refused.push((kind, schedule, steps, message));
                    continue;
                }
            };
            let mut noise = BatchNoise::new(3, 1, [2, 2, 4]);
            let start = noise.randn();
            let run: Result<Vec<_>, Error> = sampler.run(Normal, &start, noise).collect();
            let run = run.expect("no error");
            let worst = |latents: &Latents| latents.data().iter().fold(0.0f32, |worst, x| worst.max(x.abs()));
            assert!(run.iter().all(|step| step.latents.is_finite()), "{kind} {schedule} {steps}");
            // A few steps of second order overshoot, as they do in k-diffusion; more come to pictures.
            let limit = if steps < 20 { 40.0 } else { 3.0 };
            let last = run.last().expect("a step");
            assert!(worst(&last.latents) < limit, "{kind} {schedule} {steps}: {}", worst(&last.latents));
            assert!(run.iter().enumerate().all(|(i, step)| step.index == i), "{kind} {schedule} {steps}");
            assert_eq!(run.last().map(|step| step.total), Some(run.len()), "{kind} {schedule} {steps}");
            for (strength, rule) in if steps <= 20 { &STRENGTHS[..] } else { &[] } {
                let part = match sampler.img2img(*strength, *rule) {
                    Ok(part) => part,
                    Err(error) => {
                        assert!(matches!(error, Error::NoSteps { .. }), "{kind} {schedule} {steps}: {error}");
                        continue;
                    }
                };
                let last =
                    part.run_from(Normal, &pixel(&[0.5; 4]), &pixel(&[0.7; 4]), BatchNoise::new(3, 1, [1, 1, 4]));
                let Some(last) = last.expect("one length").last() else {
                    // CompVis' rule may leave none: the noised picture itself.
                    let none = *rule == StrengthRule::Compvis && strength * (steps as f64) < 1.0;
                    assert!(none, "{kind} {schedule} {steps} {strength} {rule:?}");
                    continue;
                };
                let worst = worst(&last.expect("no error").latents);
                assert!(worst < 40.0, "{kind} {schedule} {steps} {strength} {rule:?}: {worst}");
            }
            if !kind.info().has(SamplerFeature::Adaptive) {
                assert_eq!(run.len(), sampler.steps(), "{kind} {schedule} {steps}");
                assert!(run.iter().all(|step| step.total == run.len()), "{kind} {schedule} {steps}");
            }
        }
    }
    refused.retain(|(kind, schedule, ..)| *kind != SamplerKind::DpmSolver && *schedule != ScheduleKind::Compvis);
    // Schedules of sigmas for those that walk timesteps; and counts.
    let of_counts: Vec<_> = refused.iter().filter(|(kind, schedule, ..)| kind.has_schedule(*schedule)).collect();
    let counts: Vec<String> = of_counts.iter().map(|(.., message)| message.clone()).collect();
    let range = |steps, kind, range| format!("{steps} steps are out of range for sampler {kind}: give {range}");
    let expected = ["ddim", "plms", "ddim_cfgpp"]
        .map(|kind| [range(1000, kind, "1 to 999"), range(1, kind, "2 to 1000")])
        .concat();
    assert_eq!(counts, expected);
    let of_schedules = refused.len() - of_counts.len();
    assert_eq!(of_schedules, 3 * 11 * 6, "ddim, plms and ddim_cfgpp have no schedule of sigmas");
}

/// Any count from 1 to 1000 gives levels that make sense, or is refused with those that do.
#[test]
fn any_count_works_or_is_refused() {
    let noise_schedule = sd1();
    let all = SamplerKind::ALL.into_iter().flat_map(|kind| ScheduleKind::ALL.map(|schedule| (kind, schedule)));
    // Schedules of sigmas are laid out in one way for nearly all.
    let own = [ScheduleKind::Default, ScheduleKind::Automatic, ScheduleKind::Compvis];
    let some = [SamplerKind::Dpm2, SamplerKind::Euler, SamplerKind::Lcm];
    for (kind, schedule) in all.filter(|(kind, schedule)| some.contains(kind) || own.contains(schedule)) {
        if !kind.has_schedule(schedule) {
            continue;
        }
        for steps in (1..=40).chain((41..1000).step_by(23)).chain(995..=1000) {
            let sampler = match Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)) {
                Ok(sampler) => sampler,
                Err(error) => {
                    let refused = schedule == ScheduleKind::Compvis || kind == SamplerKind::DpmSolver;
                    let timesteps = [SamplerKind::Ddim, SamplerKind::DdimCfgpp, SamplerKind::Plms].contains(&kind);
                    let ends = timesteps && [1, 1000].contains(&steps);
                    assert!(refused || ends, "{kind} {schedule} {steps}: {error}");
                    continue;
                }
            };
            let levels = sampler.levels();
            let sound = |level: &NoiseLevel| level.sigma >= 0.0 && (0.0..=999.0).contains(&level.timestep);
            assert!(levels.len() > 1 && levels.iter().all(sound), "{kind} {schedule} {steps}");
            let rises = levels.windows(2).filter(|pair| pair[1].sigma > pair[0].sigma).count();
            assert!(rises == 0 || (kind == SamplerKind::Restart && rises <= 2), "{kind} {schedule} {steps}");
            assert!(levels[0].sigma > 0.0 && levels[0].sigma < 14.7, "{kind} {schedule} {steps}");
        }
    }
}

#[test]
fn steps_are_those_asked_for() {
    // What A1111 asks of its samplers, and what they then do.
    for (kind, schedule, asked, taken) in [
        ("restart", "automatic", 20, 20),
        ("restart", "automatic", 36, 36),
        ("restart", "automatic", 1000, 1000),
        ("dpm_fast", "automatic", 20, 7),
        ("dpm_fast", "automatic", 3, 2),
        ("ddim", "automatic", 20, 19),
        ("ddim", "automatic", 30, 30),
        ("unipc", "automatic", 30, 31),
        ("euler", "ddim", 30, 31),
        ("dpm_2", "automatic", 20, 20),
    ] {
        let (kind, schedule) = (kind.parse().expect("a sampler"), schedule.parse().expect("a schedule"));
        let sampler = Sampler::new(kind, schedule, &sd1(), SampleOptions::new(asked)).expect("valid");
        assert_eq!(sampler.steps(), taken, "{kind} {schedule} {asked}");
        assert_eq!(sampler.run(Oracle(vec![0.5]), &pixel(&[1.0]), BatchNoise::new(0, 1, [1, 1, 1])).count(), taken);
    }
}

#[test]
fn the_truth_is_found() {
    let truth: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
    for (kind, schedule) in SamplerKind::ALL.into_iter().flat_map(|kind| ScheduleKind::ALL.map(|s| (kind, s))) {
        for steps in [2, 3, 4, 5, 20, 50] {
            let Ok(sampler) = Sampler::new(kind, schedule, &sd1(), SampleOptions::new(steps)) else { continue };
            let mut noise = BatchNoise::new(3, 1, [2, 3, 4]);
            let start = noise.randn();
            let last = sampler.run(Oracle(truth.clone()), &start, noise).last().expect("a step").expect("no error");
            let worst =
                truth.iter().zip(last.latents.data()).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            // What noise is left is at most that of the last level; a two-step DPM-Solver-fast has more.
            let left = 5.0 * last.sigma * if kind == SamplerKind::DpmFast { 20.0 } else { 1.0 } + 2e-3;
            assert!(worst < left, "{kind} {schedule} {steps}: {worst:e}, sigma {}", last.sigma);
        }
    }
}

#[test]
fn a_picture_is_the_same_in_any_batch() {
    /// The network, on pictures of 60 numbers, each with a contrast of its own, so that adaptive steps differ.
    struct Batch(Vec<f64>);
    impl Predictor for Batch {
        type Error = Error;

        fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents, Error> {
            let pictures = x.images().zip(&self.0);
            let of = |x: f32, c: f64| (0.7 * f64::from(x) + 0.3 * (c * f64::from(x) + timestep / 300.0).sin()) as f32;
            x.with_data(pictures.flat_map(|(x, &c)| x.iter().map(move |&x| of(x, c))).collect())
        }
    }
    for kind in SamplerKind::ALL {
        for eta in [None, Some(0.5)] {
            let options = SampleOptions {
                eta: eta.filter(|_| kind.info().noise.default_eta().is_some()),
                ..SampleOptions::new(6)
            };
            let sampler = Sampler::new(kind, ScheduleKind::Default, &sd1(), options).expect("valid");
            let run = |seed: u64, contrasts: &[f64]| {
                let mut noise = BatchNoise::new(seed, contrasts.len(), [3, 5, 4]);
                let start = noise.randn();
                let denoiser = ModelDenoiser::new(Batch(contrasts.to_vec()), PredictionType::Epsilon);
                let steps: Result<Vec<_>, Error> = sampler.run(denoiser, &start, &mut noise).collect();
                let steps = steps.expect("no error");
                (steps.len(), steps.last().expect("a step").latents.clone())
            };
            let (steps, together) = run(7, &[2.0, 9.0, 0.1]);
            let alone = [run(7, &[2.0]), run(8, &[9.0]), run(9, &[0.1])];
            assert_eq!(Ok(together), Latents::concat(&alone.each_ref().map(|(_, latents)| latents.clone())), "{kind}");
            assert_eq!(Some(steps), alone.iter().map(|(steps, _)| *steps).max(), "{kind}");
            if kind.info().has(SamplerFeature::Adaptive) {
                assert!(alone[0].0 != alone[1].0 || alone[1].0 != alone[2].0, "the pictures do not differ in steps");
            }
        }
    }
}

#[test]
fn an_adaptive_run_ends_whatever_the_model_says() {
    /// Different at every call, or nothing at all.
    struct Wild(u32);
    impl Denoiser for Wild {
        type Error = Error;

        fn denoise(&mut self, x: &Latents, _level: NoiseLevel) -> Result<Latents, Error> {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = if self.0 == 0 { f32::NAN } else { (self.0 >> 8) as f32 };
            Ok(x.map(|_| value))
        }
    }
    let sampler = Sampler::new(SamplerKind::DpmAdaptive, ScheduleKind::Default, &sd1(), SampleOptions::new(20));
    let sampler = sampler.expect("valid");
    let steps = |denoiser| sampler.run(denoiser, &pixel(&[1.0; 4]), BatchNoise::new(0, 1, [1, 1, 4])).count();
    assert!((100..7000).contains(&steps(Wild(1))));
    struct Nan;
    impl Denoiser for Nan {
        type Error = Error;

        fn denoise(&mut self, x: &Latents, _level: NoiseLevel) -> Result<Latents, Error> {
            Ok(x.map(|_| f32::NAN))
        }
    }
    let run = sampler.run(Nan, &pixel(&[1.0; 4]), BatchNoise::new(0, 1, [1, 1, 4]));
    let steps: Result<Vec<_>, Error> = run.collect();
    assert!(steps.expect("no error").len() < 5, "nothing gets better here");
}

/// A1111's `sample_img2img` of both families, at strength 0.75 of 20 steps.
#[test]
fn img2img_is_cut_as_in_a1111() {
    let cut = |kind, schedule, strength| {
        let whole = Sampler::new(kind, schedule, &sd1(), SampleOptions::new(20)).expect("valid");
        whole.img2img(strength, StrengthRule::A1111).expect("valid")
    };
    let timesteps = |sampler: &Sampler| {
        let of = |level: &NoiseLevel| level.timestep;
        (of(&sampler.noised_level()), sampler.levels().first().map(of), sampler.levels().last().map(of))
    };
    // timesteps[15] is 751, timesteps[:15] ends at 701.
    for kind in [SamplerKind::Ddim, SamplerKind::DdimCfgpp, SamplerKind::Plms] {
        let part = cut(kind, ScheduleKind::Automatic, 0.75);
        assert_eq!((part.steps(), timesteps(&part)), (14, (751.0, Some(701.0), Some(1.0))), "{kind}");
    }
    let part = cut(SamplerKind::UniPc, ScheduleKind::Automatic, 0.75);
    assert_eq!((part.steps(), timesteps(&part)), (15, (751.0, Some(701.0), Some(0.0))));
    // 16 of the 20 steps; Restart goes down less than 20 steps and so does not restart.
    let whole = Sampler::new(SamplerKind::Restart, ScheduleKind::Automatic, &sd1(), SampleOptions::new(20));
    let whole = whole.expect("valid");
    assert!(whole.levels().windows(2).any(|pair| pair[1].sigma > pair[0].sigma), "it restarts");
    let part = cut(SamplerKind::Restart, ScheduleKind::Automatic, 0.75);
    assert_eq!(part.steps(), 16);
    assert!(part.levels().windows(2).all(|pair| pair[1].sigma < pair[0].sigma));
    // DPM fast takes the ends of what is left of the schedule: sigmas[4] and sigmas[-2].
    let uniform = Sampler::new(SamplerKind::Euler, ScheduleKind::Uniform, &sd1(), SampleOptions::new(20));
    let uniform = uniform.expect("valid");
    let part = cut(SamplerKind::DpmFast, ScheduleKind::Automatic, 0.75);
    assert_eq!(part.steps(), 6);
    let ends = [part.levels()[0].sigma, part.levels()[6].sigma].map(|sigma| sigma as f32);
    assert_eq!(ends, [uniform.levels()[4].sigma, uniform.levels()[19].sigma].map(|sigma| sigma as f32));
    let too_weak = Sampler::new(SamplerKind::Ddim, ScheduleKind::Automatic, &sd1(), SampleOptions::new(20))
        .and_then(|whole| whole.img2img(0.05, StrengthRule::A1111));
    assert!(matches!(too_weak, Err(Error::NoSteps { .. })), "{too_weak:?}");
}

/// Any of UniPC's settings in any count of steps, also down to sigma 0, where its λ has no end.
#[test]
fn unipc_takes_any_settings() {
    let all = UniPcVariant::ALL.into_iter().flat_map(|variant| (1..=9).map(move |order| (variant, order)));
    for (uni_pc_variant, uni_pc_order) in all {
        for (uni_pc_lower_order_final, schedule) in [true, false]
            .into_iter()
            .flat_map(|lower| [ScheduleKind::Automatic, ScheduleKind::Karras].map(|s| (lower, s)))
        {
            for steps in [1, 2, 3, 7, 20, 200] {
                let settings = SamplerSettings {
                    uni_pc_variant,
                    uni_pc_order,
                    uni_pc_lower_order_final,
                    ..SamplerSettings::default()
                };
                let options = SampleOptions::new(steps).settings(settings);
                let sampler = Sampler::new(SamplerKind::UniPc, schedule, &sd1(), options).expect("valid");
                let (latents, _) = final_latents(&sampler);
                assert!(latents.iter().all(|x| x.is_finite()), "{settings:?} {steps} {schedule}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_noise_schedule_is_refused_or_samples(start in 1e-7f64..0.5, end in 0.0f64..0.9, train in 2usize..60, steps in 1usize..61) {
        let Ok(noise_schedule) = NoiseSchedule::scaled_linear(start, end, train) else { return Ok(()) };
        for (kind, schedule) in SamplerKind::ALL.into_iter().flat_map(|kind| ScheduleKind::ALL.map(|s| (kind, s))) {
            let Ok(sampler) = Sampler::new(kind, schedule, &noise_schedule, SampleOptions::new(steps)) else { continue };
            let last = sampler.run(Oracle(vec![0.5]), &pixel(&[1.0]), BatchNoise::new(0, 1, [1, 1, 1])).last();
            let latents = last.expect("a step").expect("no error").latents;
            prop_assert!(latents.is_finite(), "{kind} {schedule} {steps}: {latents:?}");
            for rule in [StrengthRule::Diffusers, StrengthRule::A1111] {
                let Ok(part) = sampler.img2img(0.6, rule) else { continue };
                let run = part.run_from(Oracle(vec![0.5]), &pixel(&[0.3]), &pixel(&[1.0]), BatchNoise::new(0, 1, [1, 1, 1]));
                let last = run.expect("one length").last().expect("a step").expect("no error");
                prop_assert!(last.latents.is_finite(), "{kind} {schedule} {steps}: {:?}", last.latents);
            }
        }
    }
}
